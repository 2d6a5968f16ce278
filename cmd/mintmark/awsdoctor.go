package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/awsreg/lint"
)

// awsDoctorFlags are what files do not say of themselves.
type awsDoctorFlags struct {
	target, role, code, ca, certificate string
}

func newAWSDoctor(a *app) *cobra.Command {
	var f awsDoctorFlags
	c := a.command("doctor [FILE ...] [flags]", "Find what AWS would refuse, and mistakes, offline",
		`Doctor reads files and says what AWS would refuse, in AWS's words where they
are known, and what AWS takes although it is a mistake. It reads certificates
and requests (PEM), IoT and IAM policies, provisioning templates (JSON), stacks
(CloudFormation in JSON or YAML, CDK in TypeScript or Python), the code of
Lambda functions (Python, JavaScript), topic rules, bulk input (NDJSON) and a
client's config.ini. Files that are given together are compared with each other;
a directory stands for all such files in it. Nothing is executed and nothing is
sent.

Without files it looks at the targets of mintmark.yaml in the same way.

It exits with 1 if something would be refused or is a mistake, and with 0 if
there is advice only. docs/aws-doctor.md explains each rule.`,
		`  mintmark aws doctor policy.json template.json hook.py
  mintmark aws doctor ./stack --json
  mintmark aws doctor verification.pem --registration-code 4d3a --ca ca.pem
  mintmark aws doctor template.json --certificate device.pem
  mintmark aws doctor --target line-a --dir ./factory`,
		cobra.ArbitraryArgs, func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.doctorTargets(c.Context(), f)
			}
			return a.doctorFiles(args, f)
		})
	flags := c.Flags()
	flags.StringVar(&f.target, "target", "", "only this `target`, if no files are given (default all)")
	flags.StringVar(&f.role, "role", "", "what the files are `for`, if they do not say it: "+roleNames())
	flags.StringVar(&f.code, "registration-code", "", "the account's registration `code`, for verification certificates")
	flags.StringVar(&f.ca, "ca", "", "`file` with the CA that signs what is checked")
	flags.StringVar(&f.certificate, "certificate", "", "`file` with a certificate as devices get it, for templates")
	return c
}

func roleNames() string {
	var names []string
	for _, r := range lint.Roles() {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

// errDoctor is the end of a check that found what must be put right.
type errDoctor struct{ refused, mistakes int }

func (e errDoctor) Error() string {
	return fmt.Sprintf("%s would be refused, %s", plural(e.refused, "thing"), plural(e.mistakes, "mistake"))
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

func (f awsDoctorFlags) options() (lint.Options, error) {
	o := lint.Options{Role: lint.Role(f.role), RegistrationCode: f.code}
	known := f.role == ""
	for _, r := range lint.Roles() {
		known = known || r == o.Role
	}
	if !known {
		return o, usagef("--role %q is none of %s", f.role, roleNames())
	}
	if f.ca != "" {
		list, err := readCertificates(f.ca)
		if err != nil {
			return o, fmt.Errorf("--ca: %w", err)
		}
		o.CA = list[0]
	}
	if f.certificate != "" {
		list, err := readCertificates(f.certificate)
		if err != nil {
			return o, fmt.Errorf("--certificate: %w", err)
		}
		o.Certificate = list[0]
	}
	return o, nil
}

// doctorFiles checks files.
func (a *app) doctorFiles(names []string, f awsDoctorFlags) error {
	if f.target != "" {
		return usagef("--target is for the targets of mintmark.yaml, which are looked at if no files are given")
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	files, err := doctorInput(names)
	if err != nil {
		return err
	}
	found, err := lint.CheckAll(files, o)
	if err != nil {
		return err
	}
	var end errDoctor
	for _, one := range found {
		switch one.Severity {
		case lint.Refused:
			end.refused++
		case lint.Mistake:
			end.mistakes++
		}
	}
	if a.json {
		if found == nil {
			found = []lint.Finding{}
		}
		err = a.printJSON(struct {
			Findings []lint.Finding `json:"findings"`
			Refused  int            `json:"refused"`
			Mistakes int            `json:"mistakes"`
		}{found, end.refused, end.mistakes})
	} else {
		err = a.printFindings(files, found)
	}
	return errors.Join(err, end.orNil())
}

func (e errDoctor) orNil() error {
	if e.refused+e.mistakes == 0 {
		return nil
	}
	return e
}

func (a *app) printFindings(files []lint.File, found []lint.Finding) error {
	for _, one := range found {
		if _, err := fmt.Fprintln(a.out, printable(one.String())); err != nil {
			return err
		}
	}
	verdict := fmt.Sprintf("%s checked: ", plural(len(files), "file"))
	if len(found) == 0 {
		verdict += "nothing found"
	} else {
		verdict += plural(len(found), "finding")
	}
	_, err := fmt.Fprintln(a.out, verdict)
	return err
}

// checkable are the extensions that are looked at in a directory.
var checkable = map[string]bool{
	".pem": true, ".crt": true, ".cer": true, ".csr": true, ".key": true, ".py": true, ".js": true, ".mjs": true, ".cjs": true, ".ts": true,
	".json": true, ".yaml": true, ".yml": true, ".ndjson": true, ".jsonl": true, ".ini": true, ".md": true,
}

// doctorInput reads files, and what is in directories.
func doctorInput(names []string) ([]lint.File, error) {
	var files []lint.File
	read := func(name string, asked bool) error {
		if len(files) >= lint.MaxFiles {
			return fmt.Errorf("these are more than %d files", lint.MaxFiles)
		}
		data, err := readFile(name, lint.MaxFile)
		files = append(files, lint.File{Name: name, Data: data, Asked: asked})
		return err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			if err := read(name, true); err != nil {
				return nil, err
			}
			continue
		}
		before := len(files)
		err = filepath.WalkDir(name, func(path string, e fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case e.IsDir() && path != name && (strings.HasPrefix(e.Name(), ".") || e.Name() == "node_modules" || e.Name() == "cdk.out"):
				return fs.SkipDir
			case e.Type().IsRegular() && checkable[strings.ToLower(filepath.Ext(path))]:
				return read(path, false)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if len(files) == before {
			return nil, fmt.Errorf("%s holds no file that can be checked", name)
		}
	}
	return files, nil
}

// targetFindings are the findings on one target.
type targetFindings struct {
	Target   string             `json:"target"`
	Findings []admin.AWSFinding `json:"findings"`
}

// doctorTargets checks the configured targets.
func (a *app) doctorTargets(ctx context.Context, f awsDoctorFlags) error {
	if f.role != "" || f.code != "" || f.ca != "" || f.certificate != "" {
		return usagef("--role, --registration-code, --ca and --certificate are for files: name those to be checked")
	}
	return a.withClient(ctx, func(client *admin.Client) error {
		names, err := awsIoT.chooseNames(ctx, client, f.target)
		if err != nil {
			return err
		}
		var end errDoctor
		list := []targetFindings{}
		for _, name := range names {
			found, err := client.AWSDoctor(ctx, name)
			if err != nil {
				return err
			}
			list = append(list, targetFindings{name, found})
			for _, one := range found {
				switch lint.Severity(one.Severity) {
				case lint.Refused:
					end.refused++
				case lint.Mistake:
					end.mistakes++
				}
			}
		}
		if a.json {
			err = a.printJSON(struct {
				Targets []targetFindings `json:"targets"`
			}{list})
		} else {
			err = a.printTargetFindings(list)
		}
		return errors.Join(err, end.orNil())
	})
}

func (a *app) printTargetFindings(list []targetFindings) error {
	for _, target := range list {
		for _, one := range target.Findings {
			says := ""
			if one.AWS != "" {
				says = fmt.Sprintf("AWS would say %q: ", one.AWS)
			}
			line := fmt.Sprintf("%s: %s (%s): %s: %s%s", target.Target, one.Severity, one.Rule, one.Subject, says, one.Text)
			if _, err := fmt.Fprintln(a.out, printable(line)); err != nil {
				return err
			}
		}
		verdict := plural(len(target.Findings), "finding")
		if len(target.Findings) == 0 {
			verdict = "nothing found"
		}
		if _, err := fmt.Fprintf(a.out, "target %s: %s\n", printable(target.Target), verdict); err != nil {
			return err
		}
	}
	return nil
}
