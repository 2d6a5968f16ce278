package main

import (
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/awsreg/render"
)

// bucketName is what S3 takes.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func newAWSRender(a *app) *cobra.Command {
	var target, out string
	var code admin.AWSCode
	c := a.command("render --out DIR [flags]", "Write the stacks and documents of a target",
		`Render writes what an account needs that aws apply does not make: CloudFormation
templates with their parameters for the Lambda functions, their roles and
alarms, a script that deploys them in order, and under documents/ the policies,
templates and rules as the aws command takes them. Names and ARNs are those of
mintmark.yaml. It asks AWS nothing; files of an earlier run are replaced.`,
		"  mintmark aws render --target line-a --bucket code.example --out stack --dir ./factory", cobra.NoArgs,
		func(c *cobra.Command, _ []string) error {
			if code.Architecture != "arm64" && code.Architecture != "x86_64" {
				return usagef("--architecture %q is neither arm64 nor x86_64", code.Architecture)
			}
			if code.Bucket != "" && !bucketName.MatchString(code.Bucket) {
				return usagef("--bucket %q is no name of a bucket: S3 takes 3 to 63 lower-case letters, digits, dots and hyphens, beginning and ending with a letter or digit", code.Bucket)
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				name, err := awsTarget(c.Context(), client, target)
				if err != nil {
					return err
				}
				got, err := client.AWSRender(c.Context(), name, code)
				if err != nil {
					return err
				}
				var files []render.File
				for _, f := range got.Files {
					files = append(files, render.File{Name: f.Name, Content: []byte(f.Content), Script: f.Script})
				}
				if err := render.Write(out, files); err != nil {
					return err
				}
				if a.json {
					names := []string{}
					for _, f := range files {
						names = append(names, f.Name)
					}
					return a.printJSON(struct {
						Target    string   `json:"target"`
						Directory string   `json:"directory"`
						Files     []string `json:"files"`
					}{name, out, names})
				}
				_, err = fmt.Fprintf(a.out, "%d files in %s\n", len(files), out)
				return err
			})
		})
	f := c.Flags()
	f.StringVar(&target, "target", "", "this `target`; needed if there are several")
	f.StringVar(&out, "out", "", "`directory` to write to; it is made if it is not there")
	f.StringVar(&code.Bucket, "bucket", "", "S3 `bucket` for the bundle of the functions, in the target's region; needed if the target has functions")
	f.StringVar(&code.Key, "key", "mintmark-lambda.zip", "`key` of the bundle in it")
	f.StringVar(&code.Architecture, "architecture", "arm64", "`architecture` of the functions: arm64 or x86_64")
	if err := c.MarkFlagRequired("out"); err != nil {
		panic(err)
	}
	return c
}
