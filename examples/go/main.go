// Command sender asks for a code for each profile id that it is given, and prints the messages with their codes.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	requests = "message-render"
	replies  = "message-render.reply"
	timeout  = 30 * time.Second
)

type answer struct {
	Outcome  string `json:"outcome"`
	Rendered string `json:"rendered"`
	Refusals []struct {
		Detail string `json:"detail"`
	} `json:"refusals"`
}

func main() {
	if len(os.Args) == 1 {
		log.Fatal("usage: sender PROFILE...")
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, profiles []string) error {
	bootstrap := os.Getenv("KAFKA_BOOTSTRAP")
	if bootstrap == "" {
		bootstrap = "localhost:9092"
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.ClientID("newsletter"),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	// Without a group: every partition from its present end.
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, replies)
	if err != nil {
		return err
	}
	client.AddConsumePartitions(ends.KOffsets())

	// Which profile waits for an answer, by correlation id.
	waiting := make(map[string]string)
	for _, profile := range profiles {
		// The id names the request for ever: store it, and send the same id to ask again.
		id := uuid.Must(uuid.NewV7()).String()
		waiting[id] = profile
		if err := client.ProduceSync(ctx, request(id, profile)).FirstErr(); err != nil {
			return err
		}
	}
	for len(waiting) > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("not answered yet, ask again with these ids: %v", waiting)
		}
		if err := fetches.Err(); err != nil {
			return err
		}
		for record := range fetches.RecordsAll() {
			// Answers to other senders are skipped without a look at their values.
			id := header(record, "kafka_correlationId")
			profile, ours := waiting[id]
			if !ours {
				continue
			}
			delete(waiting, id)
			var got answer
			if err := json.Unmarshal(record.Value, &got); err != nil {
				return err
			}
			fmt.Printf("%s: %s\n", profile, got)
		}
	}
	return nil
}

// request is a CloudEvent in binary mode: its attributes are headers, its data is the value.
func request(id, profile string) *kgo.Record {
	value, _ := json.Marshal(map[string]string{
		"profile_id":  profile,
		"campaign_id": "spring",
		"template":    "Hello! Your code is {loyalty.SPRING.promocode}",
	})
	record := &kgo.Record{Topic: requests, Key: []byte(profile), Value: value}
	for _, header := range [][2]string{
		{"ce_specversion", "1.0"},
		{"ce_id", id},
		{"ce_source", "/examples/go"},
		{"ce_type", "dev.codewell.message-render.v1"},
		{"content-type", "application/json"},
		{"kafka_correlationId", id},
	} {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: header[0], Value: []byte(header[1])})
	}
	return record
}

func header(record *kgo.Record, name string) string {
	for _, one := range record.Headers {
		if one.Key == name {
			return string(one.Value)
		}
	}
	return ""
}

// String is the rendered message, or why there is none.
func (a answer) String() string {
	if a.Outcome == "attached" {
		return a.Rendered
	}
	return fmt.Sprintf("refused: %v", a.Refusals)
}
