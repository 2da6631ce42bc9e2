package conformance;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.cloudevents.CloudEvent;
import io.cloudevents.core.builder.CloudEventBuilder;
import io.cloudevents.core.format.EventFormat;
import io.cloudevents.core.message.Encoding;
import io.cloudevents.core.provider.EventFormatProvider;
import io.cloudevents.jackson.JsonFormat;
import io.cloudevents.kafka.CloudEventDeserializer;
import io.cloudevents.kafka.CloudEventSerializer;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Sends the plan's requests with the CloudEvents SDK and prints the answers that it reads: BOOTSTRAP PLAN. */
public final class Client {
  private static final ObjectMapper JSON = new ObjectMapper();

  private final String bootstrap;
  private final JsonNode plan;

  private Client(String bootstrap, JsonNode plan) {
    this.bootstrap = bootstrap;
    this.plan = plan;
  }

  public static void main(String[] arguments) throws Exception {
    Client client = new Client(arguments[0], JSON.readTree(Path.of(arguments[1]).toFile()));
    for (JsonNode batch : client.plan.get("batches")) {
      client.send(batch);
    }
    client.receive();
  }

  private void send(JsonNode batch) throws Exception {
    // An encoding belongs to a producer, and a transaction to one producer.
    for (JsonNode request : batch.get("requests")) {
      Map<String, Object> configuration = new HashMap<>();
      configuration.put("bootstrap.servers", bootstrap);
      configuration.put("compression.type", batch.get("compression").asText());
      boolean binary = request.get("mode").asText().equals("binary");
      configuration.put(
          CloudEventSerializer.ENCODING_CONFIG, binary ? Encoding.BINARY : Encoding.STRUCTURED);
      if (!binary) {
        configuration.put(CloudEventSerializer.EVENT_FORMAT_CONFIG, JsonFormat.CONTENT_TYPE);
      }
      JsonNode transaction = batch.get("transaction");
      if (!transaction.isNull()) {
        configuration.put("transactional.id", request.get("id").asText());
      }
      CloudEventSerializer serializer = new CloudEventSerializer();
      serializer.configure(configuration, false);
      try (var producer = new KafkaProducer<>(configuration, new StringSerializer(), serializer)) {
        if (!transaction.isNull()) {
          producer.initTransactions();
          producer.beginTransaction();
        }
        producer.send(record(request)).get();
        if (transaction.asText().equals("commit")) {
          producer.commitTransaction();
        } else if (!transaction.isNull()) {
          producer.abortTransaction();
        }
      }
    }
  }

  private ProducerRecord<String, CloudEvent> record(JsonNode request) throws Exception {
    JsonNode attributes = request.get("attributes");
    CloudEventBuilder event =
        CloudEventBuilder.v1()
            .withId(request.get("id").asText())
            .withSource(URI.create(plan.get("source").asText()))
            .withType(plan.get("type").asText())
            .withTime(OffsetDateTime.parse(attributes.get("time").asText()))
            .withData(
                attributes.get("datacontenttype").asText(),
                JSON.writeValueAsBytes(request.get("data")));
    for (String name : new String[] {"partitionkey", "expirytime", "correlationid", "causationid"}) {
      event.withExtension(name, attributes.get(name).asText());
    }
    String key = attributes.get("partitionkey").asText();
    var record = new ProducerRecord<>(plan.get("topic").asText(), key, event.build());
    record.headers().add("kafka_correlationId", request.get("id").asText().getBytes(StandardCharsets.UTF_8));
    return record;
  }

  private void receive() throws Exception {
    Set<String> waiting = new HashSet<>();
    plan.get("answered").forEach(id -> waiting.add(id.asText()));
    Map<String, Object> configuration = Map.of("bootstrap.servers", bootstrap, "auto.offset.reset", "earliest");
    try (var consumer =
        new KafkaConsumer<>(configuration, new StringDeserializer(), new CloudEventDeserializer())) {
      String reply = plan.get("reply").asText();
      consumer.assign(
          consumer.partitionsFor(reply).stream().map(one -> new TopicPartition(reply, one.partition())).toList());
      Instant late = Instant.now().plusSeconds(plan.get("timeout_s").asInt());
      while (!waiting.isEmpty()) {
        if (Instant.now().isAfter(late)) {
          throw new IllegalStateException("no answer to " + waiting);
        }
        for (ConsumerRecord<String, CloudEvent> record : consumer.poll(Duration.ofMillis(500))) {
          print(record, waiting);
        }
      }
    }
  }

  private static void print(ConsumerRecord<String, CloudEvent> record, Set<String> waiting) throws Exception {
    var header = record.headers().lastHeader("kafka_correlationId");
    String correlation = header == null ? "" : new String(header.value(), StandardCharsets.UTF_8);
    if (!waiting.remove(correlation)) {
      return;
    }
    EventFormat format = EventFormatProvider.getInstance().resolveFormat(JsonFormat.CONTENT_TYPE);
    ObjectNode answer = (ObjectNode) JSON.readTree(format.serialize(record.value()));
    answer.put("mode", record.headers().lastHeader("ce_id") == null ? "structured" : "binary");
    answer.put("correlation", correlation);
    System.out.println(JSON.writeValueAsString(answer));
  }
}
