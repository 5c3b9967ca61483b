/** Types of what calls take and give, made of those that are generated from openapi.json. */

import type { components, operations } from './generated/schema.js'

/** A type whose amounts (`…_minor`) are of type `A`. */
export type WithAmounts<T, A> = T extends readonly (infer Item)[]
  ? WithAmounts<Item, A>[]
  : T extends object
    ? {
        [Name in keyof T]: Name extends `${string}_minor`
          ? Amount<T[Name], A>
          : WithAmounts<T[Name], A>
      }
    : T

type Amount<T, A> = number extends T ? Exclude<T, number> | A : T

/** The name of an operation, as in openapi.json. */
export type OperationId = keyof operations

/** What a part of an operation is; nothing is known of a part that it does not have. */
type Part<T> = [NonNullable<T>] extends [never] ? unknown : NonNullable<T>
type InPath<O> = O extends { parameters: { path?: infer P } } ? Part<P> : unknown
type InQuery<O> = O extends { parameters: { query?: infer Q } } ? Part<BigNumbers<Q>> : unknown
type BigNumbers<Q> = { [Name in keyof Q]: number extends Q[Name] ? Q[Name] | bigint : Q[Name] }
type InBody<O> = O extends { requestBody?: { content: { 'application/json': infer B } } }
  ? Part<WithAmounts<B, bigint | number>>
  : unknown
/** Filters of events that openapi.json cannot describe: `metadata.` and a searchable key. */
type ByMetadata<Id> = Id extends 'list_events'
  ? { [Name in `metadata.${string}`]?: string }
  : unknown
type Flat<T> = { [Name in keyof T]: T[Name] }

/** What a call takes: the names of its path, its query and its body, together. */
export type Arguments<Id extends OperationId> = Flat<
  InPath<operations[Id]> & InQuery<operations[Id]> & InBody<operations[Id]> & ByMetadata<Id>
>

type Json<Responses, Status> = Status extends keyof Responses
  ? Responses[Status] extends { content: { 'application/json': infer Body } }
    ? Body
    : never
  : never

type Given<Body> = [Body] extends [never] ? void : WithAmounts<Body, bigint>

/** What a call gives. */
export type Answer<Id extends OperationId> = Given<
  Json<operations[Id]['responses'], 200 | 201 | 202>
>

/** A document of openapi.json by its name, as answers have it. */
export type Model<Name extends keyof components['schemas']> = WithAmounts<
  components['schemas'][Name],
  bigint
>

/** A document of openapi.json by its name, as requests may have it. */
export type Draft<Name extends keyof components['schemas']> = WithAmounts<
  components['schemas'][Name],
  bigint | number
>
