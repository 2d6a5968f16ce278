// Package render writes what a target needs in its AWS account and mintmark does
// not make itself: the stacks of package deploy with their parameters, the stack
// of IoT resources where the stack owns them, the documents that the aws command
// takes, and a script that deploys all of it in order.
//
// Everything is made from the target, so that names and ARNs agree with what
// `aws apply` and the functions use. Nothing is read from AWS.
package render

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"mintmark/awsreg"
	"mintmark/deploy"
)

// Input is what the files are made from. Target must be valid.
type Input struct {
	Target awsreg.Target
	// CAs are the certificate ids of the target's CAs of UseJITR, for their topic
	// rules.
	CAs      []string
	Provider Provider
	Callback *Callback // nil for none
	Ingest   *Ingest   // nil for none
	Code     Code
}

// Code is where the functions' bundle is. It must be set for a target with a
// function.
type Code struct {
	Bucket, Key  string // in S3, in the target's region
	Architecture string // arm64 or x86_64
}

// Provider is where the certificate provider has certificates signed; it must be
// complete if the target has one.
type Provider struct {
	URL    string // EST server
	Label  string
	CA     string // trust anchor, PEM
	Secret string // ARN in Secrets Manager
}

// Callback is the function that is asked about each connection.
type Callback struct {
	Domain   string // name of the domain configuration
	Function string // ARN
	CRLs     []string
	OCSP     string
	Anchors  string // PEM
}

// File is one file. Its name may have one folder.
type File struct {
	Name    string
	Content []byte
	Script  bool // to be made executable
}

// Files returns every file of a target, in a fixed order.
func Files(in Input) ([]File, error) {
	if err := in.Target.Validate(); err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, err
	}
	in.Code.Key, in.Code.Architecture = or(in.Code.Key, "mintmark-lambda.zip"), or(in.Code.Architecture, "arm64")
	stacks := in.stacks()
	if err := apart(stacks); err != nil {
		return nil, fmt.Errorf("rendering target %q: %w", in.Target.Name, err)
	}
	if in.Code.Bucket == "" && in.functions(stacks) {
		return nil, fmt.Errorf("rendering target %q: it needs functions: name the bucket for their bundle (--bucket)", in.Target.Name)
	}
	var files []File
	written := make(map[string]bool)
	for _, s := range stacks {
		if !written[s.template] {
			written[s.template] = true
			content, err := deploy.AWS.ReadFile("aws/" + s.template)
			if err != nil {
				return nil, fmt.Errorf("reading the template %s: %w", s.template, err)
			}
			files = append(files, File{Name: s.template, Content: content})
		}
		content, err := parameters(s.parameters)
		if err != nil {
			return nil, err
		}
		files = append(files, File{Name: s.parameterFile(), Content: content})
	}
	documents, err := in.documents()
	if err != nil {
		return nil, err
	}
	files = append(files, documents...)
	if in.Target.StackOwned {
		stack, err := in.resources()
		if err != nil {
			return nil, err
		}
		files = append(files, File{Name: iotStack, Content: stack})
	}
	if len(stacks) == 0 && !in.Target.StackOwned {
		return files, nil // nothing to deploy
	}
	return append(files, File{Name: "deploy.sh", Content: in.script(stacks), Script: true}), nil
}

func (in Input) check() error {
	for _, arn := range in.functionARNs() {
		if functionName(arn) == "" {
			return fmt.Errorf("rendering target %q: %q is not the ARN of a Lambda function without version or alias, which is what the stacks make", in.Target.Name, arn)
		}
	}
	if in.Target.Provider != nil {
		p := in.Provider
		switch {
		case !strings.HasPrefix(p.URL, "https://"):
			return errors.New("rendering the certificate provider: set certificate_provider.url to the EST server that the function reaches, https://host[:port]")
		case p.Label == "":
			return errors.New("rendering the certificate provider: set certificate_provider.label to an EST label that takes registration authorities")
		case !strings.HasPrefix(p.Secret, "arn:"):
			return errors.New("rendering the certificate provider: set certificate_provider.secret to the ARN of the secret with the registration authority's key and certificate")
		}
	}
	if in.Ingest != nil {
		if err := in.Ingest.check(); err != nil {
			return err
		}
	}
	if c := in.Callback; c != nil {
		switch {
		case c.Domain == "":
			return errors.New("rendering the callback: set connect_callback.domain to the name of the domain configuration")
		case (len(c.CRLs) > 0 || c.OCSP != "") && c.Anchors == "":
			return errors.New("rendering the callback: there is no trust anchor to check CRLs and OCSP answers with")
		}
	}
	return nil
}

// functionARNs are those of the functions that the stacks make.
func (in Input) functionARNs() []string {
	t := in.Target
	var list []string
	if t.JITR != nil {
		list = append(list, t.JITR.Function)
	}
	for _, f := range t.Fleets {
		list = append(list, f.Hook)
		if t.Rotation != nil {
			list = append(list, f.RotationHook)
		}
	}
	if t.Rotation != nil {
		list = append(list, t.Rotation.Presence)
	}
	if t.Provider != nil {
		list = append(list, t.Provider.Function)
	}
	if in.Callback != nil {
		list = append(list, in.Callback.Function)
	}
	return list
}

// functionName is the name in the ARN of a Lambda function.
func functionName(arn string) string {
	parts := strings.Split(arn, ":")
	if len(parts) != 7 || parts[2] != "lambda" || parts[5] != "function" {
		return ""
	}
	return parts[6]
}

// parameters is a parameter file of `aws cloudformation deploy`.
// https://docs.aws.amazon.com/cli/latest/reference/cloudformation/deploy/
func parameters(p map[string]string) ([]byte, error) {
	content, err := json.MarshalIndent(map[string]any{"Parameters": p}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding parameters: %w", err)
	}
	return append(content, '\n'), nil
}
