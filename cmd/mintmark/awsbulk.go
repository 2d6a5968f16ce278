package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newAWSBulk(a *app) *cobra.Command {
	var target, order, out, templateOut string
	c := a.command("bulk --out FILE --template-out FILE [flags]", "Write the input of a bulk registration",
		`Bulk writes what StartThingRegistrationTask reads: a line of JSON for each valid
device certificate under the target's CAs with use register, and the template
that goes with it. A CA with mode NONE has no part in it: a bulk registration
takes a certificate under its registered CA. It registers nothing: copy the file
to S3 and start the task (aws iot start-thing-registration-task). Whether the
devices came in, aws drift says.`,
		"  mintmark aws bulk --target line-a --order WO-117 --out things.json --template-out template.json --dir ./factory", cobra.NoArgs,
		func(c *cobra.Command, _ []string) error {
			for _, name := range []string{out, templateOut} {
				if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
					return fmt.Errorf("%s exists and is not overwritten: name another file", name)
				}
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				name, err := awsTarget(c.Context(), client, target)
				if err != nil {
					return err
				}
				bulk, err := writeBulk(out, func(w *bufio.Writer) (admin.AWSBulk, error) {
					return client.AWSBulk(c.Context(), name, order, w)
				})
				if err != nil {
					return err
				}
				var template bytes.Buffer
				if err := json.Indent(&template, bulk.Template, "", "  "); err != nil {
					return fmt.Errorf("the template: %w", err)
				}
				template.WriteByte('\n')
				if err := replaceFile(templateOut, template.Bytes(), 0o644); err != nil {
					return err
				}
				if a.json {
					return a.printJSON(struct {
						Target   string `json:"target"`
						Things   int    `json:"things"`
						File     string `json:"file"`
						Template string `json:"template"`
					}{name, bulk.Things, out, templateOut})
				}
				_, err = fmt.Fprintf(a.out, "%d things in %s, the template in %s\n", bulk.Things, out, templateOut)
				return err
			})
		})
	f := c.Flags()
	f.StringVar(&target, "target", "", "this `target`; not needed if there is only one")
	f.StringVar(&order, "order", "", "only certificates under this work `order`")
	f.StringVar(&out, "out", "", "`file` for the lines; it must not exist")
	f.StringVar(&templateOut, "template-out", "", "`file` for the template; it must not exist")
	require(c, "out", "template-out")
	return c
}

// writeBulk writes a file that may be large, whole or not at all.
func writeBulk(name string, fill func(*bufio.Writer) (admin.AWSBulk, error)) (admin.AWSBulk, error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return admin.AWSBulk{}, err
	}
	defer os.Remove(f.Name())
	w := bufio.NewWriter(f)
	bulk, err := fill(w)
	if err == nil {
		err = errors.Join(w.Flush(), f.Chmod(0o644), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return bulk, err
	}
	return bulk, os.Rename(f.Name(), name)
}
