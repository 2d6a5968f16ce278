// Command mintmark-lambda is the bundle of mintmark's AWS Lambda functions: one
// bootstrap for the runtime provided.al2023, which takes its handler from the
// function's configuration.
//
//	handler               what it does, and how long AWS lets it
//	jitr                  activates certificates that arrive by just-in-time registration
//	provision             pre-provisioning hook: admits devices with a claim (5 s)
//	rotate                pre-provisioning hook: admits a device's next certificate (5 s)
//	presence              takes the old certificate out of service once the next has connected
//	monitor               tells devices to rotate; on a daily schedule (up to 15 minutes)
//	certificate-provider  has certification requests signed by mintmark (5 s)
//	connect               client-certificate callback: refuses what is revoked or held
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

	"mintmark/internal/awshttp"
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
	cfg.HTTPClient = awshttp.Wrap(cfg.HTTPClient)
	return handlers[s.handler].open(s, cfg, slog.New(slog.NewJSONHandler(os.Stdout, nil))), nil
}
