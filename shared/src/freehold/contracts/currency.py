"""ISO 4217 currency codes and their minor units.

Source: ISO 4217, list one (active codes), and the codes withdrawn since 2022 from list three, which
backfilled ledgers still need. The number is the exponent: 2 means hundredths. Codes without a minor
unit (metals, funds, test codes) count as whole units.
"""

from decimal import Decimal

_BY_EXPONENT = {
    0: """BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF
          XAG XAU XBA XBB XBC XBD XDR XPD XPT XSU XTS XUA XXX""",
    2: """AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD
          CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP
          GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK
          LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO
          NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS
          SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST
          XCD XCG YER ZAR ZMW ZWG ANG BGN CUC HRK SLL ZWL""",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

MINOR_UNIT_EXPONENTS: dict[str, int] = {
    code: exponent for exponent, codes in _BY_EXPONENT.items() for code in codes.split()
}


def major_units(amount_minor: int, currency: str) -> Decimal:
    """Give an amount in major units, exactly and with all decimals: 1990 USD cents are 19.90."""
    return Decimal(f"{amount_minor}e-{MINOR_UNIT_EXPONENTS[currency]}")


def grouped(amount_minor: int, exponent: int) -> str:
    """Write an amount in major units, its digits in groups: 199000 with exponent 2 is 1,990.00."""
    return f"{Decimal(f'{amount_minor}e-{exponent}'):,f}"
