package example;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.uuid.Generators;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Asks for a code for each profile id that it is given, and prints the messages with their codes. */
public final class Sender {
  private static final String REQUESTS = "message-render";
  private static final String REPLIES = "message-render.reply";
  private static final Duration TIMEOUT = Duration.ofSeconds(30);
  private static final ObjectMapper JSON = new ObjectMapper();

  public static void main(String[] profiles) throws Exception {
    if (profiles.length == 0) {
      System.err.println("usage: java -jar sender.jar PROFILE...");
      System.exit(2);
    }
    var bootstrap = System.getenv().getOrDefault("KAFKA_BOOTSTRAP", "localhost:9092");
    Map<String, Object> kafka = Map.of("bootstrap.servers", bootstrap);
    try (var consumer = consumer(kafka);
        var producer = new KafkaProducer<>(kafka, new StringSerializer(), new StringSerializer())) {
      // An answer names its request, and a sender skips the answers to others.
      Map<String, String> waiting = new HashMap<>();
      for (var profile : profiles) {
        // The id names the request for ever: store it, and send the same id to ask again.
        var id = Generators.timeBasedEpochRandomGenerator().generate().toString();
        waiting.put(id, profile);
        producer.send(request(id, profile)).get();
      }
      var ends = System.nanoTime() + TIMEOUT.toNanos();
      while (!waiting.isEmpty() && System.nanoTime() < ends) {
        for (var record : consumer.poll(Duration.ofMillis(200))) {
          var profile = waiting.remove(header(record, "kafka_correlationId"));
          if (profile != null) {
            System.out.println(profile + ": " + text(JSON.readTree(record.value())));
          }
        }
      }
      if (!waiting.isEmpty()) {
        System.err.println("Not answered yet, ask again with these ids: " + waiting);
        System.exit(1);
      }
    }
  }

  /** A consumer without a group, which reads all partitions from their end, before anything is asked. */
  private static KafkaConsumer<String, String> consumer(Map<String, Object> kafka) {
    var properties = new HashMap<>(kafka);
    properties.put("isolation.level", "read_committed");
    properties.put("enable.auto.commit", false);
    var consumer = new KafkaConsumer<>(properties, new StringDeserializer(), new StringDeserializer());
    List<TopicPartition> partitions =
        consumer.partitionsFor(REPLIES).stream()
            .map(one -> new TopicPartition(one.topic(), one.partition()))
            .toList();
    consumer.assign(partitions);
    consumer.seekToEnd(partitions);
    partitions.forEach(consumer::position);
    return consumer;
  }

  private static ProducerRecord<String, String> request(String id, String profile) throws Exception {
    var data =
        Map.of(
            "profile_id", profile,
            "campaign_id", "spring",
            "template", "Hello! Your code is {loyalty.SPRING.promocode}");
    var record = new ProducerRecord<>(REQUESTS, profile, JSON.writeValueAsString(data));
    var headers =
        Map.of(
            "ce_specversion", "1.0",
            "ce_id", id,
            "ce_source", "/examples/java",
            "ce_type", "dev.codewell.message-render.v1",
            "content-type", "application/json",
            "kafka_correlationId", id);
    headers.forEach((name, text) -> record.headers().add(name, text.getBytes()));
    return record;
  }

  private static String header(ConsumerRecord<String, String> record, String name) {
    var found = record.headers().lastHeader(name);
    return found == null ? "" : new String(found.value());
  }

  /** The rendered message, or why there is none. */
  private static String text(JsonNode answer) {
    if (answer.get("outcome").asText().equals("attached")) {
      return answer.get("rendered").asText();
    }
    return "refused: " + answer.get("refusals").findValuesAsText("detail");
  }

  private Sender() {}
}
