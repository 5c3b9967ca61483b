/**
 * Writes src/generated/ from openapi.json: the types of all documents (openapi-typescript), and a
 * method for each operation.
 */

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import openapiTS, { astToString } from 'openapi-typescript'

const DOCUMENT = new URL('../../openapi.json', import.meta.url)
const GENERATED = new URL('../src/generated/', import.meta.url)
const METHODS = ['get', 'put', 'post', 'patch', 'delete']
// freehold.ts has these: the one never ends, and the other takes and gives lines.
const BY_HAND = new Set(['stream_balances', 'import_events'])
// What belongs to the client's options, or is for clients that can send no header.
const NOT_ARGUMENTS = new Set(['Idempotency-Key', 'Prefer', 'If-None-Match', 'Last-Event-ID'])

const document = JSON.parse(await readFile(DOCUMENT, 'utf8'))

function* operationsOf({ paths }) {
  for (const [path, item] of Object.entries(paths)) {
    for (const method of METHODS) {
      if (item[method]) yield describe(path, method, item[method])
    }
  }
}

function describe(path, method, operation) {
  const parameters = (operation.parameters ?? []).map(resolve)
  const body = resolve(operation.requestBody)
  const answer = resolve(
    Object.entries(operation.responses).find(([status]) => /^2/.test(status))[1],
  )
  return {
    id: operation.operationId,
    name: operation.operationId.replace(/_(\w)/g, (_, letter) => letter.toUpperCase()),
    text: [operation.summary, operation.description].filter(Boolean).join('\n\n'),
    kinds: kindsOf(answer),
    isOptional:
      !parameters.some(({ required, name }) => required && !NOT_ARGUMENTS.has(name)) &&
      !mustHaveFields(body),
    called: {
      service: operation.servers[0].description,
      credential: Object.keys(operation.security[0])[0],
      method: method.toUpperCase(),
      path,
      query: parameters.filter((one) => one.in === 'query').map((one) => one.name),
      hasBody: Boolean(body?.content['application/json']),
      hasKey: parameters.some((one) => one.name === 'Idempotency-Key'),
    },
  }
}

/** Says what an operation gives: a document or a list of them, a file, or either. */
function kindsOf({ content = {} }) {
  const { 'application/json': json, ...files } = content
  const kinds = Object.keys(files).length > 0 ? ['download'] : []
  if (!json && kinds.length > 0) return kinds
  return [resolve(json?.schema)?.properties?.next_cursor ? 'list' : 'answer', ...kinds]
}

function mustHaveFields(body) {
  const schema = resolve(body?.content['application/json']?.schema)
  return Boolean(schema && (schema.required?.length || schema.oneOf || schema.anyOf))
}

function resolve(part) {
  if (!part?.$ref) return part
  const keys = part.$ref.replace(/^#\//, '').split('/')
  return resolve(keys.reduce((found, key) => found[key], document))
}

/** Finds the types of problems, which are values of enums. */
function slugsIn(part) {
  if (typeof part === 'string') return part.match(/^\/problems\/([a-z-]+)$/)?.slice(1) ?? []
  return part && typeof part === 'object' ? Object.values(part).flatMap(slugsIn) : []
}

function methods({ kinds, name, ...rest }) {
  return kinds.map((kind, place) =>
    methodOf({ ...rest, name: place ? name.replace(/^get/, 'download') : name, kind }),
  )
}

function methodOf({ id, name, text, kind, isOptional, called: { hasKey } }) {
  const given = `given: Arguments<'${id}'>${isOptional ? ' = {}' : ''}`
  const types = {
    answer: [hasKey ? 'KeyedOptions' : 'CallOptions', `Promise<Answer<'${id}'>>`],
    list: ['CallOptions', `List<Answer<'${id}'>>`],
    download: ['DownloadOptions', 'Promise<Response>'],
  }
  const [options, answer] = types[kind]
  return `
  /**
${text
  .replaceAll('*/', '*\\/')
  .split('\n')
  .map((line) => `   * ${line}`.trimEnd())
  .join('\n')}
   */
  ${name}(${given}, options?: ${options}): ${answer} {
    return this.${kind}(operations.${id}, given, options)
  }
`
}

function sourceOf(operations, slugs) {
  const table = operations.map(({ id, called }) => `  ${id}: ${JSON.stringify(called)},\n`)
  const byId = operations.filter(({ id }) => !BY_HAND.has(id)).flatMap(methods)
  return `/** Made of openapi.json by scripts/generate.mjs. */

import { Calls, type DownloadOptions, type KeyedOptions, type Operation } from '../calls.js'
import type { List } from '../lists.js'
import type { Answer, Arguments, OperationId } from '../shapes.js'
import type { CallOptions } from '../transport.js'

export const problemSlugs = ${JSON.stringify(slugs)} as const

export const operations: Record<OperationId, Operation> = {
${table.join('')}}

/** A method for each operation. */
export class Operations extends Calls {${byId.join('')}}
`
}

const schema = await openapiTS(document, { defaultNonNullable: false, alphabetize: true })
await mkdir(GENERATED, { recursive: true })
await writeFile(new URL('schema.ts', GENERATED), astToString(schema))
const slugs = [...new Set(slugsIn(document))].sort()
await writeFile(new URL('operations.ts', GENERATED), sourceOf([...operationsOf(document)], slugs))
