// Command mintmark-lambda is the bundle of mintmark's AWS Lambda functions: one
// bootstrap for the runtime provided.al2023, which takes its handler from the
// function's configuration.
//
//	handler  what it does
//	jitr     activates certificates that arrive by just-in-time registration
//
// The process holds clients and nothing else: what it decides on is read for
// every event. Build it with the tag lambda.norpc.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iot"

	"mintmark/awsreg/hook"
)

func main() {
	handler, err := run(context.Background(), os.Getenv)
	if err != nil {
		fmt.Fprintf(os.Stderr, "mintmark-lambda: %v\n", err)
		os.Exit(1)
	}
	lambda.Start(handler)
}

// run makes the handler that _HANDLER names.
func run(ctx context.Context, getenv func(string) string) (lambda.Handler, error) {
	s, err := readSettings(getenv)
	if err != nil {
		return nil, err
	}
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the AWS configuration: %w", err)
	}
	return jitr{&hook.Activator{
		IoT:    iot.NewFromConfig(cfg),
		Store:  hook.Table{Client: dynamodb.NewFromConfig(cfg), Name: s.table},
		Policy: s.policy,
		MaxAge: s.maxAge,
		Logger: slog.New(slog.NewJSONHandler(os.Stdout, nil)),
	}}, nil
}

// jitr is the handler of the events of just-in-time registration.
type jitr struct{ activator *hook.Activator }

// Invoke implements lambda.Handler. The event is parsed by package hook and not
// by the Lambda library, which would ignore what is missing.
func (h jitr) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	event, err := hook.ParseEvent(payload)
	if err != nil {
		h.activator.Logger.Error("event not understood", "error", err)
		return nil, err
	}
	if err := h.activator.Handle(ctx, event); err != nil {
		return nil, err
	}
	return []byte("null"), nil
}
