package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

func newDeviceImport(a *app) *cobra.Command {
	var i admin.ListImport
	var format string
	c := a.command("import FILE [flags]", "Import a device list", `Import puts the devices of a list into the inventory: all of them or, if a
single row is wrong, none. The list is CSV (comma, semicolon or tab; the first
line names the columns) or NDJSON (one JSON object a line). It must have the
column device; order, product, key_sha256 and public_key have a meaning, and
every other column is kept to be found again. A row about a device that is
listed already must say the same, unless --update is given. Use - to read
standard input.`,
		`  mintmark device import devices.csv --order WO-117 --dir ./factory
  mintmark device import devices.ndjson --check --dir ./factory`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			if err := listFormat(&i, args[0], format); err != nil {
				return err
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				done, err := a.importList(c.Context(), client, args[0], i)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(done)
				}
				return a.printImported(done, i)
			})
		})
	c.ValidArgsFunction = nil // files
	f := c.Flags()
	f.BoolVar(&i.Update, "update", false, "let rows replace what is listed already, keys too")
	f.BoolVar(&i.Check, "check", false, "only check the list; nothing is imported")
	f.StringVar(&i.Order, "order", "", "work `order` of all rows")
	f.StringVar(&i.Product, "product", "", "`product` of the rows that name none")
	f.StringVar(&format, "format", "", "csv or ndjson (default by the name of the file)")
	return c
}

// listFormat fills what the file's name says.
func listFormat(i *admin.ListImport, file, format string) error {
	if format == "" {
		switch strings.ToLower(filepath.Ext(file)) {
		case ".csv", ".tsv", ".txt":
			format = "csv"
		case ".ndjson", ".jsonl", ".json":
			format = "ndjson"
		default:
			return usagef("the name of %s does not say what it holds: add --format csv or --format ndjson", file)
		}
	}
	switch format {
	case "csv":
		i.Media = admin.MediaCSV
	case "ndjson":
		i.Media = admin.MediaNDJSON
	default:
		return usagef("--format %q is neither csv nor ndjson", format)
	}
	if i.File = filepath.Base(file); file == "-" {
		i.File = ""
	}
	return nil
}

// importList sends a device list and shows how far it has got.
func (a *app) importList(ctx context.Context, client *admin.Client, file string, i admin.ListImport) (admin.ListImported, error) {
	list := io.NopCloser(a.in)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return admin.ListImported{}, err
		}
		info, err := f.Stat()
		switch {
		case err != nil:
		case info.IsDir():
			err = fmt.Errorf("%s is a directory", file)
		case info.Size() > admin.MaxList:
			err = fmt.Errorf("%s measures %d bytes; %d are allowed: split it", file, info.Size(), admin.MaxList)
		}
		if err != nil {
			f.Close()
			return admin.ListImported{}, err
		}
		list = f
	}
	defer list.Close()
	p := newProgress(a)
	done, err := client.ImportDevices(ctx, list, i, p.update)
	p.end(err == nil)
	return done, err
}

func (a *app) printImported(done admin.ListImported, i admin.ListImport) error {
	var err error
	switch {
	case i.Check:
		_, err = fmt.Fprintf(a.out, "%s, every row is well-formed; nothing was imported\n", things(int64(done.Devices), "device"))
	case i.Update && done.Known > 0:
		_, err = fmt.Fprintf(a.out, "%s: %d new, %d listed before and now as this list says (import %s)\n", things(int64(done.Devices), "device"), done.New, done.Known, done.ID)
	default:
		_, err = fmt.Fprintf(a.out, "%s: %d new, %d listed before (import %s)\n", things(int64(done.Devices), "device"), done.New, done.Known, done.ID)
	}
	return err
}
