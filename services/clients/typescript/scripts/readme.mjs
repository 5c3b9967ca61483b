/** Writes the code of README.md to generated/, where the types of its blocks are checked. */

import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'

const README = new URL('../README.md', import.meta.url)
const BLOCKS = new URL('../generated/', import.meta.url)

const text = await readFile(README, 'utf8')
await rm(BLOCKS, { recursive: true, force: true })
await mkdir(BLOCKS, { recursive: true })
for (const [number, [, block]] of [...text.matchAll(/^```ts\n(.*?)^```$/gms)].entries()) {
  // Each is a module of its own, and may name what README.md takes for granted.
  await writeFile(new URL(`block_${number + 1}.ts`, BLOCKS), `${block}\nexport {}\n`)
}
