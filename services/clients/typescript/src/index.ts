/** @freehold/client: see README.md. */

import type { Draft, Model } from './shapes.js'

export type { DownloadOptions, KeyedOptions, Settings } from './calls.js'
export { Freehold, type StreamArguments } from './freehold.js'
export { List, type Page } from './lists.js'
export { decimal, formatMoney, type Unit } from './money.js'
export { type FieldError, NoAnswer, Problem, type ProblemSlug } from './problems.js'
export type { Answer, Arguments, Draft, Model, OperationId } from './shapes.js'
export type { BalanceChange } from './stream.js'
export type { CallOptions, Secret } from './transport.js'

export type AccountBalance = Model<'AccountBalance'>
export type Balance = Model<'Balance'>
export type LedgerEvent = Model<'LedgerEvent'>
export type NewEvent = Draft<'NewEvent'>
