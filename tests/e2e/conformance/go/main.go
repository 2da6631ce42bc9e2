// Sends the plan's requests with the CloudEvents SDK and prints the answers that it reads: client BOOTSTRAP PLAN.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/cloudevents/sdk-go/v2/event"
)

type request struct {
	ID         string            `json:"id"`
	Mode       string            `json:"mode"`
	Data       json.RawMessage   `json:"data"`
	Attributes map[string]string `json:"attributes"`
}

type batch struct {
	Compression string    `json:"compression"`
	Transaction *string   `json:"transaction"`
	Requests    []request `json:"requests"`
}

type plan struct {
	Topic    string   `json:"topic"`
	Reply    string   `json:"reply"`
	Source   string   `json:"source"`
	Type     string   `json:"type"`
	Timeout  int      `json:"timeout_s"`
	Answered []string `json:"answered"`
	Batches  []batch  `json:"batches"`
}

var compressions = map[string]sarama.CompressionCodec{
	"none":   sarama.CompressionNone,
	"gzip":   sarama.CompressionGZIP,
	"snappy": sarama.CompressionSnappy,
	"lz4":    sarama.CompressionLZ4,
	"zstd":   sarama.CompressionZSTD,
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func (p plan) message(one request) *sarama.ProducerMessage {
	made := event.New()
	made.SetID(one.ID)
	made.SetSource(p.Source)
	made.SetType(p.Type)
	for name, text := range one.Attributes {
		switch name {
		case "time":
			moment, err := time.Parse(time.RFC3339, text)
			check(err)
			made.SetTime(moment)
		case "datacontenttype":
		default:
			made.SetExtension(name, text)
		}
	}
	check(made.SetData(one.Attributes["datacontenttype"], one.Data))
	message := &sarama.ProducerMessage{Topic: p.Topic, Key: sarama.StringEncoder(one.Attributes["partitionkey"])}
	ctx := binding.WithForceStructured(context.Background())
	if one.Mode == "binary" {
		ctx = binding.WithForceBinary(context.Background())
	}
	check(kafka_sarama.WriteProducerMessage(ctx, binding.ToMessage(&made), message))
	message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte("kafka_correlationId"), Value: []byte(one.ID)})
	return message
}

func (p plan) send(bootstrap string, some batch) {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	config.Producer.Compression = compressions[some.Compression]
	config.Producer.Return.Successes = true
	if some.Transaction != nil {
		config.Producer.Idempotent = true
		config.Producer.RequiredAcks = sarama.WaitForAll
		config.Producer.Transaction.ID = some.Requests[0].ID
		config.Net.MaxOpenRequests = 1
	}
	producer, err := sarama.NewSyncProducer([]string{bootstrap}, config)
	check(err)
	defer producer.Close()
	if some.Transaction != nil {
		check(producer.BeginTxn())
	}
	messages := make([]*sarama.ProducerMessage, 0, len(some.Requests))
	for _, one := range some.Requests {
		messages = append(messages, p.message(one))
	}
	check(producer.SendMessages(messages))
	if some.Transaction == nil {
		return
	}
	if *some.Transaction == "commit" {
		check(producer.CommitTxn())
	} else {
		check(producer.AbortTxn())
	}
}

func (p plan) receive(bootstrap string) {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	consumer, err := sarama.NewConsumer([]string{bootstrap}, config)
	check(err)
	partitions, err := consumer.Partitions(p.Reply)
	check(err)
	records := make(chan *sarama.ConsumerMessage)
	for _, partition := range partitions {
		one, err := consumer.ConsumePartition(p.Reply, partition, sarama.OffsetOldest)
		check(err)
		go func() {
			for record := range one.Messages() {
				records <- record
			}
		}()
	}
	waiting := map[string]bool{}
	for _, id := range p.Answered {
		waiting[id] = true
	}
	late := time.After(time.Duration(p.Timeout) * time.Second)
	for len(waiting) > 0 {
		select {
		case record := <-records:
			read(record, waiting)
		case <-late:
			log.Fatalf("no answer to %v", waiting)
		}
	}
}

func read(record *sarama.ConsumerMessage, waiting map[string]bool) {
	correlation := ""
	for _, header := range record.Headers {
		if string(header.Key) == "kafka_correlationId" {
			correlation = string(header.Value)
		}
	}
	if !waiting[correlation] {
		return
	}
	delete(waiting, correlation)
	message := kafka_sarama.NewMessageFromConsumerMessage(record)
	mode := "binary"
	if message.ReadEncoding() == binding.EncodingStructured {
		mode = "structured"
	}
	answer, err := binding.ToEvent(context.Background(), message)
	check(err)
	check(answer.Validate())
	text, err := json.Marshal(answer)
	check(err)
	fields := map[string]any{}
	check(json.Unmarshal(text, &fields))
	fields["mode"] = mode
	fields["correlation"] = correlation
	text, err = json.Marshal(fields)
	check(err)
	fmt.Println(string(text))
}

func main() {
	text, err := os.ReadFile(os.Args[2])
	check(err)
	var given plan
	check(json.Unmarshal(text, &given))
	for _, some := range given.Batches {
		given.send(os.Args[1], some)
	}
	given.receive(os.Args[1])
}
