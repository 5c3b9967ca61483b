-- Ids: UUIDv7 (RFC 9562), so that the order of ids is the order of the ledger.

CREATE OR REPLACE FUNCTION uuid_floor(instant timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT (
        lpad(to_hex(floor(extract(EPOCH FROM instant) * 1000)::bigint), 12, '0')
        || repeat('0', 20)
    )::uuid
$$;
COMMENT ON FUNCTION uuid_floor(timestamptz) IS
'The least uuid that an event recorded at this instant could have (RFC 9562, section 5.7).';

CREATE OR REPLACE FUNCTION uuid_instant(id text) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT to_timestamp(('x' || replace(left(id, 13), '-', ''))::bit(48)::bigint / 1000.0)
$$;
COMMENT ON FUNCTION uuid_instant IS 'The millisecond that a UUIDv7 begins with.';

CREATE OR REPLACE FUNCTION id_at(ids bytea, number bigint) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT encode(substring(ids FROM 16 * number::integer - 15 FOR 16), 'hex')::uuid
$$;
COMMENT ON FUNCTION id_at IS 'One of many ids of 16 bytes each, counted from 1.';

CREATE OR REPLACE FUNCTION uuid_v7(milliseconds bigint, seq bigint) RETURNS uuid
LANGUAGE sql VOLATILE
AS $$
    -- As two halves of 64 bits: 28672 is the version, 7, and 2 << 62 the variant.
    SELECT (
        lpad(to_hex((milliseconds << 16) | 28672 | ((seq >> 30) & 4095)), 16, '0')
        || to_hex(
            (2::bigint << 62) | ((seq & 1073741823) << 32) | (random() * 4294967295)::bigint
        )
    )::uuid
$$;
COMMENT ON FUNCTION uuid_v7(bigint, bigint) IS
'A UUIDv7 whose counter (RFC 9562, section 6.2, method 1) is seq, 42 bits of it.';
