package example;

import com.fasterxml.uuid.Generators;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.ApplicationArguments;
import org.springframework.boot.ApplicationRunner;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.kafka.core.ConsumerFactory;
import org.springframework.kafka.core.ProducerFactory;
import org.springframework.kafka.listener.ContainerProperties;
import org.springframework.kafka.listener.KafkaMessageListenerContainer;
import org.springframework.kafka.requestreply.ReplyingKafkaTemplate;
import org.springframework.kafka.requestreply.RequestReplyFuture;
import org.springframework.kafka.support.TopicPartitionOffset;
import org.springframework.stereotype.Component;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** Asks for a code for each profile id that it is given, by Spring's request and reply. */
@SpringBootApplication
public class Sender {
  public static void main(String[] profiles) {
    if (profiles.length == 0) {
      System.err.println("usage: java -jar sender.jar PROFILE...");
      System.exit(2);
    }
    SpringApplication.run(Sender.class, profiles).close();
  }

  /** Sets kafka_correlationId, kafka_replyTopic and kafka_replyPartition in every request. */
  @Bean
  ReplyingKafkaTemplate<String, String, String> asking(
      ProducerFactory<String, String> producers,
      ConsumerFactory<String, String> consumers,
      @Value("${sender.reply-topic}") String topic,
      @Value("${sender.partition}") int partition) {
    var replies = new ContainerProperties(new TopicPartitionOffset(topic, partition));
    var container = new KafkaMessageListenerContainer<>(consumers, replies);
    var template = new ReplyingKafkaTemplate<>(producers, container);
    template.setDefaultReplyTimeout(Duration.ofSeconds(30));
    return template;
  }
}

@Component
class Campaign implements ApplicationRunner {
  private final ReplyingKafkaTemplate<String, String, String> asking;
  private final JsonMapper json;

  Campaign(ReplyingKafkaTemplate<String, String, String> asking, JsonMapper json) {
    this.asking = asking;
    this.json = json;
  }

  @Override
  public void run(ApplicationArguments arguments) throws Exception {
    Map<String, RequestReplyFuture<String, String, String>> asked = new LinkedHashMap<>();
    for (var profile : arguments.getNonOptionArgs()) {
      asked.put(profile, asking.sendAndReceive(request(profile)));
    }
    for (var one : asked.entrySet()) {
      // After a time-out, the same ce_id again gets the same answer.
      var reply = one.getValue().get(30, TimeUnit.SECONDS);
      System.out.println(one.getKey() + ": " + text(json.readTree(reply.value())));
    }
  }

  private ProducerRecord<String, String> request(String profile) {
    var data =
        Map.of(
            "profile_id", profile,
            "campaign_id", "spring",
            "template", "Hello! Your code is {loyalty.SPRING.promocode}");
    var record = new ProducerRecord<>("message-render", profile, json.writeValueAsString(data));
    var headers =
        Map.of(
            "ce_specversion", "1.0",
            "ce_id", Generators.timeBasedEpochRandomGenerator().generate().toString(),
            "ce_source", "/examples/java-spring",
            "ce_type", "dev.codewell.message-render.v1",
            "content-type", "application/json");
    headers.forEach((name, value) -> record.headers().add(name, value.getBytes()));
    return record;
  }

  /** The rendered message, or why there is none. */
  private static String text(JsonNode answer) {
    if (answer.get("outcome").asString().equals("attached")) {
      return answer.get("rendered").asString();
    }
    return "refused: " + answer.get("refusals").findValuesAsString("detail");
  }
}
