// One whole scenario with the client that oapi-codegen makes: scenario URL TOKEN NAME
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"mime/multipart"
	"net/http"
	"os"
	"strings"
	"time"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func check(holds bool, found []byte) {
	if !holds {
		log.Fatalf("unexpected: %s", found)
	}
}

func main() {
	url, token, name := os.Args[1], os.Args[2], os.Args[3]
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	withToken := func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", "Bearer "+token)
		return nil
	}
	client := must(NewClientWithResponses(url, WithRequestEditorFn(withToken)))

	settings := ProgramSettings{Name: name, CodesMax: 10}
	if err := settings.Source.FromImportSource(ImportSource{Kind: "import"}); err != nil {
		log.Fatal(err)
	}
	key := "create-" + name
	made := must(client.CreateProgramWithResponse(ctx, &CreateProgramParams{IdempotencyKey: &key}, settings))
	check(made.JSON201 != nil && made.JSON201.Name == name, made.Body)

	var form bytes.Buffer
	writer := multipart.NewWriter(&form)
	file := must(writer.CreateFormFile("file", "codes.csv"))
	must(fmt.Fprintf(file, "Code\n%s-1\n%s-2\n", name, name))
	if err := writer.WriteField("column", "Code"); err != nil {
		log.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		log.Fatal(err)
	}
	begun := must(client.ImportFileWithBodyWithResponse(
		ctx, name, &ImportFileParams{}, writer.FormDataContentType(), &form))
	check(begun.JSON202 != nil, begun.Body)
	seen := begun.JSON202
	for seen.State == "running" {
		time.Sleep(100 * time.Millisecond)
		next := must(client.ShowImportWithResponse(ctx, seen.Id))
		check(next.JSON200 != nil, next.Body)
		seen = next.JSON200
	}
	check(seen.State == "done" && seen.Imported == 2, []byte(fmt.Sprint(*seen)))

	key = "attach-" + name
	attached := must(client.AttachCodeWithResponse(
		ctx, name, &AttachCodeParams{IdempotencyKey: &key}, Attach{ProfileId: "p-1"}))
	check(attached.JSON200 != nil, attached.Body)
	code := attached.JSON200.Code
	found := must(client.ShowCodeWithResponse(ctx, name, code, &ShowCodeParams{}))
	check(found.JSON200 != nil && found.JSON200.State == "attached" && *found.JSON200.ProfileId == "p-1", found.Body)

	activated := must(client.ActivateCodeWithResponse(ctx, name, &ActivateCodeParams{}, Activate{Code: code}))
	check(activated.JSON200 != nil && activated.JSON200.State == "activated", activated.Body)
	refused := must(client.ActivateCodeWithResponse(ctx, name, &ActivateCodeParams{}, Activate{Code: code}))
	problem := refused.ApplicationproblemJSON409
	check(problem != nil && problem.Reason == "code_used" && problem.Type == "/problems/code-used", refused.Body)

	exported := must(client.ExportCodesWithResponse(ctx, name, &ExportCodesParams{}))
	csv := string(exported.Body)
	check(strings.Contains(csv, code) && strings.Count(csv, "\n") == 3, exported.Body)

	removed := must(client.RemoveProgramWithResponse(ctx, name))
	check(removed.JSON200 != nil && removed.JSON200.Name == name, removed.Body)
	fmt.Println("passed:", problem.Detail)
}
