// transformers.js in Node: FOLDER TEXTS.json VECTORS.json [DTYPE]
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(path.join(process.env.PARACLIP_NODE, "package.json"));
const place = require.resolve("@huggingface/transformers");
const library = await import(pathToFileURL(place).href);
const { AutoTokenizer, CLIPTextModelWithProjection, env } = library.env ? library : library.default;

const [folder, texts, out, dtype = "fp32"] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = path.dirname(path.resolve(folder)) + path.sep;
const name = path.basename(folder);
const tokenizer = await AutoTokenizer.from_pretrained(name);
const model = await CLIPTextModelWithProjection.from_pretrained(name, { dtype, device: "cpu" });
const listed = JSON.parse(fs.readFileSync(texts, "utf-8"));
const tokens = await tokenizer(listed, { padding: true, truncation: true });
const { text_embeds } = await model(tokens);
fs.writeFileSync(out, JSON.stringify(text_embeds.tolist()));
