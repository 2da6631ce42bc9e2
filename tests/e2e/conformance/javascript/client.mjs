// client.mjs BOOTSTRAP PLAN: sends the plan's requests with the CloudEvents SDK and prints the answers that it reads.
import { readFileSync } from "node:fs";
import { CloudEvent, Kafka as Binding } from "cloudevents";
import kafkajs from "kafkajs";
import lz4 from "lz4-napi";
import snappy from "snappyjs";
import * as zstd from "@bokuweb/zstd-wasm";

const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = kafkajs;
const codec = (compress) => () => ({ compress: async (encoder) => Buffer.from(compress(encoder.buffer)) });
CompressionCodecs[CompressionTypes.Snappy] = codec((data) => snappy.compress(data));
CompressionCodecs[CompressionTypes.LZ4] = codec((data) => lz4.compressFrameSync(data));
CompressionCodecs[CompressionTypes.ZSTD] = codec((data) => zstd.compress(data, 3));
const COMPRESSIONS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
};

const [bootstrap, file] = process.argv.slice(2);
const plan = JSON.parse(readFileSync(file, "utf8"));
const kafka = new Kafka({ clientId: "conformance", brokers: [bootstrap], logLevel: logLevel.ERROR });

function message({ id, mode, data, attributes }) {
  const event = new CloudEvent({ id, source: plan.source, type: plan.type, ...attributes, data });
  const made = mode === "binary" ? Binding.binary(event) : Binding.structured(event);
  const value = mode === "binary" ? JSON.stringify(made.value) : made.value;
  const headers = Object.fromEntries(Object.entries(made.headers).filter(([, text]) => text !== undefined));
  return { key: made.key, value, headers: { ...headers, kafka_correlationId: id } };
}

async function send() {
  const plain = kafka.producer();
  await plain.connect();
  for (const batch of plan.batches) {
    const sent = {
      topic: plan.topic,
      compression: COMPRESSIONS[batch.compression],
      messages: batch.requests.map(message),
    };
    if (batch.transaction === null) {
      await plain.send(sent);
      continue;
    }
    const producer = kafka.producer({
      transactionalId: batch.requests[0].id,
      maxInFlightRequests: 1,
      idempotent: true,
    });
    await producer.connect();
    const transaction = await producer.transaction();
    await transaction.send(sent);
    await (batch.transaction === "commit" ? transaction.commit() : transaction.abort());
    await producer.disconnect();
  }
  await plain.disconnect();
}

async function receive() {
  const waiting = new Set(plan.answered);
  const consumer = kafka.consumer({ groupId: `conformance-javascript-${process.pid}` });
  await consumer.connect();
  await consumer.subscribe({ topic: plan.reply, fromBeginning: true });
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`no answer to ${[...waiting]}`)), plan.timeout_s * 1000).unref();
    consumer.run({
      eachMessage: async ({ message: { key, value, headers } }) => {
        const texts = Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, text.toString()]));
        if (!waiting.has(texts.kafka_correlationId)) return;
        const event = Binding.toEvent({ key: key.toString(), value: value.toString(), headers: texts });
        const data = typeof event.data === "string" ? JSON.parse(event.data) : event.data;
        const mode = texts.ce_id === undefined ? "structured" : "binary";
        console.log(JSON.stringify({ mode, ...event.toJSON(), data, correlation: texts.kafka_correlationId }));
        waiting.delete(texts.kafka_correlationId);
        if (waiting.size === 0) resolve();
      },
    });
  });
  await consumer.disconnect();
}

await zstd.init();
await send();
await receive();
process.exit(0);
