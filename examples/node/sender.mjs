// Asks for a code for each profile id that it is given, and prints the messages with their codes.
import { Kafka, logLevel } from "kafkajs";
import { v7 as uuid7 } from "uuid";

const REQUESTS = "message-render";
const REPLIES = "message-render.reply";
const TIMEOUT_MS = 30_000;

const profiles = process.argv.slice(2);
if (profiles.length === 0) {
  console.error("usage: node sender.mjs PROFILE...");
  process.exit(2);
}
const kafka = new Kafka({
  clientId: "newsletter",
  brokers: (process.env.KAFKA_BOOTSTRAP ?? "localhost:9092").split(","),
  logLevel: logLevel.ERROR,
});
const producer = kafka.producer({ idempotent: true });
// A group of this process alone, which reads every partition from its present end.
const groupId = `newsletter-${uuid7()}`;
const consumer = kafka.consumer({ groupId, readUncommitted: false });
const admin = kafka.admin();
try {
  await Promise.all([producer.connect(), consumer.connect(), admin.connect()]);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
const ends = await admin.fetchTopicOffsets(REPLIES);
await admin.setOffsets({
  groupId,
  topic: REPLIES,
  partitions: ends.map(({ partition, offset }) => ({ partition, offset })),
});

// What waits for an answer, by correlation id.
const waiting = new Map();
await consumer.subscribe({ topic: REPLIES });
await consumer.run({
  autoCommit: false,
  eachMessage: async ({ message }) => {
    // Answers to other senders are skipped without a look at their values.
    waiting.get(message.headers.kafka_correlationId?.toString())?.(JSON.parse(message.value));
  },
});

/** Publishes a request and resolves to its answer. The same id again gets the same answer. */
function ask(id, data) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      waiting.delete(id);
      reject(new Error(`no answer to ${id} yet: ask again with this id`));
    }, TIMEOUT_MS);
    waiting.set(id, (answer) => {
      clearTimeout(timer);
      waiting.delete(id);
      resolve(answer);
    });
    const headers = {
      ce_specversion: "1.0",
      ce_id: id,
      ce_source: "/examples/node",
      ce_type: "dev.codewell.message-render.v1",
      "content-type": "application/json",
      kafka_correlationId: id,
    };
    producer
      .send({ topic: REQUESTS, acks: -1, messages: [{ key: data.profile_id, value: JSON.stringify(data), headers }] })
      .catch(reject);
  });
}

try {
  await Promise.all(
    profiles.map(async (profile) => {
      const data = {
        profile_id: profile,
        campaign_id: "spring",
        template: "Hello! Your code is {loyalty.SPRING.promocode}",
      };
      const answer = await ask(uuid7(), data);
      if (answer.outcome === "attached") {
        console.log(`${profile}: ${answer.rendered}`);
      } else {
        console.log(`${profile}: refused: ${answer.refusals.map((one) => one.detail).join(" ")}`);
      }
    }),
  );
} finally {
  await Promise.all([producer.disconnect(), consumer.disconnect()]);
  await admin.deleteGroups([groupId]);
  await admin.disconnect();
}
