package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iotdataplane"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"mintmark/awsreg/hook"
)

// handlers are what _HANDLER can name: the settings that each must and may have,
// and what it is made of.
var handlers = map[string]struct {
	needs, takes []string
	open         func(settings, aws.Config, *slog.Logger) lambda.Handler
}{
	"jitr":                 {[]string{envTable, envPolicy}, []string{envMaxAge}, openJITR},
	"provision":            {[]string{envTable}, []string{envMaxAge, envRotation}, openProvision},
	"rotate":               {[]string{envTable, envRotation}, []string{envMaxAge}, openRotate},
	"presence":             {[]string{envTable, envRotation}, nil, openPresence},
	"monitor":              {[]string{envTable, envRotation}, []string{envTopic, envDataEndpoint}, openMonitor},
	"certificate-provider": {[]string{envTable, envESTURL, envESTLabel, envESTCA, envSecret}, []string{envMaxAge, envRotation}, openProvider},
	"connect":              {[]string{envTable}, []string{envMaxAge, envCRLs, envOCSP, envAnchors}, openConnect},
}

// invoke is a handler of lambda.Handler's shape: bytes in, bytes out. Events are
// parsed by package hook and not by the Lambda library, which would ignore what is
// missing.
type invoke func(ctx context.Context, payload []byte) (any, error)

// Invoke implements lambda.Handler.
func (f invoke) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	answer, err := f(ctx, payload)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

// parsed is a handler whose events are parsed first. One that is not understood is
// an error, so that the alarm counts it.
func parsed[E any](log *slog.Logger, parse func([]byte) (E, error), handle func(context.Context, E) (any, error)) lambda.Handler {
	return invoke(func(ctx context.Context, payload []byte) (any, error) {
		event, err := parse(payload)
		if err != nil {
			log.Error("event not understood", "error", err)
			return nil, err
		}
		return handle(ctx, event)
	})
}

func openJITR(s settings, cfg aws.Config, log *slog.Logger) lambda.Handler {
	a := &hook.Activator{
		IoT: iot.NewFromConfig(cfg), Store: hook.Table{Client: dynamodb.NewFromConfig(cfg), Name: s.table},
		Policy: s.policy, MaxAge: s.maxAge, Logger: log,
	}
	return parsed(log, hook.ParseEvent, func(ctx context.Context, e hook.Event) (any, error) { return nil, a.Handle(ctx, e) })
}

func openProvision(s settings, cfg aws.Config, log *slog.Logger) lambda.Handler {
	p := &hook.Provisioner{
		IoT: iot.NewFromConfig(cfg), Dynamo: dynamodb.NewFromConfig(cfg),
		Table: s.table, Rotation: s.rotation, MaxAge: s.maxAge, Logger: log,
	}
	return hooked(log, p.Handle)
}

func openRotate(s settings, cfg aws.Config, log *slog.Logger) lambda.Handler {
	r := &hook.Rotator{
		IoT: iot.NewFromConfig(cfg), Dynamo: dynamodb.NewFromConfig(cfg),
		Table: s.table, Rotation: s.rotation, MaxAge: s.maxAge, Logger: log,
	}
	return hooked(log, r.Handle)
}

// hooked is the handler of a pre-provisioning hook, which must know where it is.
func hooked(log *slog.Logger, handle func(context.Context, hook.Place, hook.HookEvent) (hook.HookAnswer, error)) lambda.Handler {
	return parsed(log, hook.ParseHookEvent, func(ctx context.Context, e hook.HookEvent) (any, error) {
		lc, ok := lambdacontext.FromContext(ctx)
		if !ok {
			return nil, errors.New("called without the context of a Lambda function")
		}
		here, err := hook.ParsePlace(lc.InvokedFunctionArn)
		if err != nil {
			return nil, fmt.Errorf("reading the function's own name: %w", err)
		}
		return handle(ctx, here, e)
	})
}

func openPresence(s settings, cfg aws.Config, log *slog.Logger) lambda.Handler {
	p := &hook.Presence{
		IoT: iot.NewFromConfig(cfg), Dynamo: dynamodb.NewFromConfig(cfg),
		Table: s.table, Rotation: s.rotation, Logger: log,
	}
	return parsed(log, hook.ParsePresenceEvent, func(ctx context.Context, e hook.PresenceEvent) (any, error) { return nil, p.Handle(ctx, e) })
}

// openMonitor makes the monitor. What it does depends on the clock alone, and the
// event is read to know that a schedule has asked.
func openMonitor(s settings, cfg aws.Config, log *slog.Logger) lambda.Handler {
	m := &hook.Monitor{
		Dynamo: dynamodb.NewFromConfig(cfg),
		Publisher: iotdataplane.NewFromConfig(cfg, func(o *iotdataplane.Options) {
			if s.dataEndpoint != "" {
				o.BaseEndpoint = aws.String(s.dataEndpoint)
			}
		}),
		Table: s.table, Rotation: s.rotation, Topic: s.topic, Logger: log,
	}
	return parsed(log, hook.ParseScheduledEvent, func(ctx context.Context, _ hook.ScheduledEvent) (any, error) { return m.Handle(ctx) })
}

func openProvider(s settings, cfg aws.Config, log *slog.Logger) lambda.Handler {
	p := &hook.Provider{
		IoT: iot.NewFromConfig(cfg), Dynamo: dynamodb.NewFromConfig(cfg),
		Table: s.table, Rotation: s.rotation, MaxAge: s.maxAge, Logger: log,
		Enroller: enroller(s, secretsmanager.NewFromConfig(cfg)), Anchors: s.estCA,
	}
	return parsed(log, hook.ParseProviderEvent, func(ctx context.Context, e hook.ProviderEvent) (any, error) { return p.Handle(ctx, e) })
}

// connectTimeout bounds one connection of the callback's to a server of lists or
// answers, within the decision's own limit.
const connectTimeout = 3 * time.Second

func openConnect(s settings, cfg aws.Config, log *slog.Logger) lambda.Handler {
	c := &hook.Callback{
		Dynamo: dynamodb.NewFromConfig(cfg), Table: s.table, MaxAge: s.maxAge, CRLs: s.crls, OCSP: s.ocsp, Anchors: s.anchors, Logger: log,
		Client: &http.Client{
			Timeout:       connectTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	return invoke(func(ctx context.Context, payload []byte) (any, error) {
		event, err := hook.ParseCallbackEvent(payload)
		if err != nil {
			log.Error("event not understood", "error", err)
			return hook.CallbackAnswer{}, nil // an answer that refuses
		}
		return c.Handle(ctx, event), nil
	})
}
