/** JSON with exact amounts: every member `…_minor` is a bigint in answers. */

const AMOUNT = /_minor$/

/**
 * Writes a value as JSON, bigints as integers.
 *
 * @throws RangeError if a number is an integer that JavaScript does not hold exactly.
 */
export function writeJson(value: unknown): string {
  if (typeof value === 'bigint') return value.toString()
  if (typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw new RangeError(`${value} is not exact as a number: give a bigint`)
  }
  if (Array.isArray(value)) return `[${value.map((each) => writeJson(each ?? null)).join()}]`
  if (!isObject(value) || value instanceof Date) return JSON.stringify(value)
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .map(([name, member]) => `${JSON.stringify(name)}:${writeJson(member)}`)
  return `{${members.join()}}`
}

/**
 * Reads JSON whose amounts are strings (`Prefer: amounts=string`).
 *
 * @throws SyntaxError if it is not JSON.
 */
export function readJson(text: string): unknown {
  return withAmounts(JSON.parse(text))
}

function withAmounts(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withAmounts)
  if (!isObject(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => {
      // A tenant names the keys of metadata, and its values stay strings.
      if (name === 'metadata') return [name, member]
      return [
        name,
        AMOUNT.test(name) && member !== null ? BigInt(member as string) : withAmounts(member),
      ]
    }),
  )
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
