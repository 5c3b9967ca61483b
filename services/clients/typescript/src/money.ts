/** Amounts as people read them. */

/** What an amount is counted in; every balance says it. */
export interface Unit {
  /** ISO 4217. */
  currency: string
  /** How many decimals the currency has: at 2 the amount 1234 is 12.34. */
  exponent: number
}

/** Writes an amount of minor units as an exact decimal: 1234 at exponent 2 is `12.34`. */
export function decimal(amountMinor: bigint, exponent: number): string {
  const sign = amountMinor < 0n ? '-' : ''
  const digits = String(amountMinor < 0n ? -amountMinor : amountMinor).padStart(exponent + 1, '0')
  const point = digits.length - exponent
  return sign + digits.slice(0, point) + (exponent > 0 ? `.${digits.slice(point)}` : '')
}

/**
 * Writes an amount of minor units with its currency, as a locale does.
 *
 * @param locale BCP 47; without it the environment's own.
 * @param options More options of `Intl.NumberFormat`, such as `currencySign: 'accounting'`.
 */
export function formatMoney(
  amountMinor: bigint,
  unit: Unit,
  locale?: string,
  options?: Intl.NumberFormatOptions,
): string {
  const format = new Intl.NumberFormat(locale, {
    style: 'currency',
    currency: unit.currency,
    // Freehold's decimals, where the environment knows others.
    minimumFractionDigits: unit.exponent,
    maximumFractionDigits: unit.exponent,
    ...options,
  })
  return format.format(decimal(amountMinor, unit.exponent) as `${number}`)
}
