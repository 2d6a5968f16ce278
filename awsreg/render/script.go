package render

import (
	"fmt"
	"strings"
)

// script deploys the stacks in order, in the right account.
func (in Input) script(stacks []stack) []byte {
	t := in.Target
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("#!/bin/sh")
	p("# Deploys what the target %s needs in account %s, region %s. It may be", t.Name, t.AccountID, t.Region)
	p("# run again: CloudFormation changes only what differs.")
	p("set -eu")
	functions := in.functions(stacks)
	if functions {
		p("# The functions' bundle; make lambda builds it. Its name counts from where you are.")
		p(`bundle=${BUNDLE:-}`)
		p(`case $bundle in '' | /*) ;; *) bundle=$PWD/$bundle ;; esac`)
		p(`[ -z "$bundle" ] || [ -f "$bundle" ] || { echo "deploy.sh: there is no bundle $bundle" >&2; exit 1; }`)
	}
	p(`cd "$(dirname "$0")"`)
	p("export AWS_REGION=%s AWS_DEFAULT_REGION=%s AWS_PAGER=", t.Region, t.Region)
	p("account=$(aws sts get-caller-identity --query Account --output text)")
	p(`[ "$account" = %s ] || { echo "deploy.sh: the credentials are of account $account, not %s" >&2; exit 1; }`, t.AccountID, t.AccountID)
	if functions {
		p("")
		p(`[ -z "$bundle" ] || aws s3 cp "$bundle" %s`, quote("s3://"+in.Code.Bucket+"/"+in.Code.Key))
	}
	for _, s := range stacks {
		p("")
		p("aws cloudformation deploy --stack-name %s --template-file %s \\", s.name, s.template)
		p("\t--parameter-overrides %s --capabilities CAPABILITY_NAMED_IAM --no-fail-on-empty-changeset", quote("file://"+s.parameterFile()))
	}
	if t.StackOwned {
		p("")
		p("# Policies, templates, rules, types and groups; the roles and functions that")
		p("# they name are there now.")
		p("aws cloudformation deploy --stack-name %s --template-file %s --no-fail-on-empty-changeset", in.stackName("iot"), iotStack)
	}
	p("")
	if t.StackOwned {
		p("echo 'next: mintmark aws apply --target %s registers the CAs and makes the tables'", t.Name)
	} else {
		p("echo 'next: mintmark aws apply --target %s'", t.Name)
	}
	return []byte(b.String())
}

// functions reports whether any stack holds a function.
func (in Input) functions(stacks []stack) bool {
	for _, s := range stacks {
		if s.parameters["CodeKey"] != "" {
			return true
		}
	}
	return false
}

// quote makes a word of the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
