package main

import (
	"bufio"
	"context"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/internal/ledger"
	"mintmark/issuer/batch"
	"mintmark/issuer/inventory"
)

// batchFlags are the words of a new batch.
type batchFlags struct {
	plan      batch.Plan
	out       string
	source    sourceFlags
	encryptTo string
	aws       string
	azure     string
	dps       bool
}

func newBatchCreate(a *app) *cobra.Command {
	var f batchFlags
	c := a.command("create --out FOLDER --profile NAME --issuer NAME (--csrs FILE | --names FILE | --count N | --order ID) [flags]",
		"Make the certificates of many devices",
		`Create makes a folder and in it the certificates of up to 100,000 devices. Who
they are say certification requests (--csrs: a folder, a ZIP, a file with PEM or
NDJSON, or - for standard input), a list of names (--names, with --column for
CSV), numbers (--count, --prefix, --from, --width), or a work order (--order
alone): its ranges, or the devices that the inventory lists under it. With
names, the keys are made here, and encrypted for the holder of the certificate
in --encrypt-to. They never reach the server.

The same words again go on with the same batch, as does mintmark batch resume.
It exits with 1 if any device is refused: the others have their certificates.`,
		`  mintmark batch create --out WO-117 --profile device --issuer issuing --count 500 --prefix SN- --encrypt-to customer.pem --dir ./factory
  mintmark batch create --out WO-118 --profile device --issuer issuing --csrs requests.zip --order WO-118 --dir ./factory`,
		cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			for _, name := range []string{"out", "csrs", "names", "order", "aws-target", "azure-target"} {
				// The variable of a script that is not set must not become every device there is.
				if flag := c.Flags().Lookup(name); flag.Changed && flag.Value.String() == "" {
					return usagef("--%s is empty", name)
				}
			}
			if c.Flags().Changed("count") && (f.source.count < 1 || f.source.count > batch.MaxItems) {
				return usagef("--count %d is not between 1 and %d", f.source.count, batch.MaxItems)
			}
			if err := f.create(c.Context(), a); err != nil {
				return err
			}
			return a.runBatch(c.Context(), f.out)
		})
	flags := c.Flags()
	flags.StringVar(&f.out, "out", "", "`folder` of the batch")
	flags.StringVar(&f.plan.Profile, "profile", "", "`name` of the profile")
	flags.StringVar(&f.plan.Issuer, "issuer", "", "`name` of the issuing CA")
	flags.StringVar(&f.plan.Order, "order", "", "work `order` that pays for the certificates")
	f.source.bind(c)
	flags.StringVar(&f.plan.KeyType, "key-type", "", "`type` of the keys to make: P-256 (default), P-384, RSA-2048, RSA-3072")
	flags.StringVar(&f.plan.Format, "format", batch.PEM, "`form` of what a device gets: pem, der, p12, ndjson")
	flags.StringVar(&f.plan.Pack, "pack", "", "zip (default) or dir: one archive or one folder for each 500 devices")
	flags.StringVar(&f.encryptTo, "encrypt-to", "", "`file` with the customer's certificate, to encrypt the parts for")
	flags.BoolVar(&f.plan.Unencrypted, "unencrypted-keys", false, "leave the keys in the parts as they are")
	flags.BoolVar(&f.plan.NoChain, "no-chain", false, "leave the certificates of the CAs out of what a device gets")
	flags.StringVar(&f.aws, "aws-target", "", "also write what an AWS bulk registration reads, for this `target`")
	flags.StringVar(&f.azure, "azure-target", "", "also write the individual enrollments that this Azure `target` has for the devices")
	flags.BoolVar(&f.dps, "dps", false, "also write individual enrollments for Azure DPS, with the certificate and nothing else")
	require(c, "out", "profile", "issuer")
	c.MarkFlagsMutuallyExclusive("encrypt-to", "unencrypted-keys")
	c.MarkFlagsMutuallyExclusive("azure-target", "dps")
	return c
}

// create fixes the plan.
func (f *batchFlags) create(ctx context.Context, a *app) error {
	if f.plan.Format != batch.NDJSON && f.plan.Pack == "" {
		f.plan.Pack = batch.Zip
	}
	switch {
	case f.source.csrs != "" && f.plan.KeyType != "":
		return usagef("--key-type is for keys that are made here, and with --csrs the devices have theirs")
	case f.source.csrs != "" && f.plan.Unencrypted:
		return usagef("--unencrypted-keys is for keys that are made here, and with --csrs the devices have theirs")
	case f.source.csrs == "" && f.plan.KeyType == "":
		f.plan.KeyType = "P-256"
	}
	if f.source.csrs == "" && f.encryptTo == "" && !f.plan.Unencrypted {
		return usagef("this makes the keys of devices: name the customer's certificate with --encrypt-to, or add --unencrypted-keys if the keys are to lie there as they are")
	}
	if !slices.Contains([]string{batch.PEM, batch.DER, batch.PKCS12, batch.NDJSON}, f.plan.Format) {
		return usagef("--format %q is none of pem, der, p12, ndjson", f.plan.Format)
	}
	if f.encryptTo != "" {
		list, err := readCertificates(f.encryptTo)
		if err != nil {
			return err
		}
		if err := batch.CheckRecipient(list[0], time.Now()); err != nil {
			return fmt.Errorf("--encrypt-to %s: %w", f.encryptTo, err)
		}
		f.plan.Recipient = list[0].Raw
	}
	if f.aws != "" {
		f.plan.Lists = append(f.plan.Lists, awsList+f.aws)
	}
	if f.azure != "" {
		f.plan.Lists = append(f.plan.Lists, azureList+f.azure)
	}
	if f.dps {
		f.plan.Lists = append(f.plan.Lists, dpsList)
	}
	return a.withClient(ctx, func(client *admin.Client) error {
		authority, err := client.Authority(ctx, f.plan.Issuer)
		if err != nil {
			return err
		}
		if f.plan.Root, err = rootOf(authority); err != nil {
			return err
		}
		check := admin.BatchCheck{Profile: f.plan.Profile, Issuer: f.plan.Issuer, Order: f.plan.Order, KeyType: f.plan.KeyType}
		if err := client.CheckBatch(ctx, check); err != nil {
			return err
		}
		if _, err := batchLists(ctx, client, f.plan); err != nil {
			return err
		}
		devices, closed, err := f.source.open(ctx, a, client, f.plan.Order)
		if err != nil {
			return err
		}
		defer closed()
		if f.dps || f.azure != "" {
			devices = onlyRegistrationIDs(devices)
		}
		plan, err := batch.Create(f.out, f.plan, devices, time.Now())
		if err == nil {
			a.say("batch %s: %s in %s", plan.ID, things(int64(plan.Items), "device"), f.out)
		}
		return err
	})
}

// rootOf is the root of an authority in DER.
func rootOf(a admin.Authority) ([]byte, error) {
	list := splitPEM(a.Certificate + a.Chain)
	if len(list) == 0 {
		return nil, fmt.Errorf("CA %q has no certificate yet", a.Name)
	}
	block, _ := pem.Decode([]byte(list[len(list)-1]))
	return block.Bytes, nil
}

// sourceFlags say which devices a batch is about.
type sourceFlags struct {
	csrs, names, column string
	count, from, width  int
	prefix              string
}

func (f *sourceFlags) bind(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.csrs, "csrs", "", "`file` or folder with certification requests; - for standard input")
	flags.StringVar(&f.names, "names", "", "`file` with the names of the devices, one a line; - for standard input")
	flags.StringVar(&f.column, "column", "", "`name` of the column of a CSV file in --names")
	flags.IntVar(&f.count, "count", 0, "how many devices, numbered")
	flags.StringVar(&f.prefix, "prefix", "", "what their names begin with")
	flags.IntVar(&f.from, "from", 1, "`number` of the first")
	flags.IntVar(&f.width, "width", 6, "`digits` of a number, filled up with zeros")
	c.MarkFlagsMutuallyExclusive("csrs", "names", "count")
	c.MarkFlagsOneRequired("csrs", "names", "count", "order")
	for _, name := range []string{"prefix", "from", "width"} {
		c.MarkFlagsMutuallyExclusive("csrs", name)
		c.MarkFlagsMutuallyExclusive("names", name)
	}
}

// open returns the devices; what closed closes is read until then.
func (f *sourceFlags) open(ctx context.Context, a *app, client *admin.Client, order string) (devices func(func(batch.Item, error) bool), closed func(), err error) {
	closed = func() {}
	switch {
	case f.column != "" && f.names == "":
		return nil, closed, usagef("--column is about the file in --names")
	case f.csrs == "-":
		return batch.Requests(a.in), closed, nil
	case f.csrs != "":
		return openRequests(f.csrs)
	case f.names == "-":
		return batch.Names(a.in, f.column), closed, nil
	case f.names != "":
		file, err := os.Open(f.names)
		if err != nil {
			return nil, closed, err
		}
		return batch.Names(file, f.column), func() { file.Close() }, nil
	case f.count > 0 && (f.from < 0 || f.from > 1e15 || f.width < 0 || f.width > 32):
		return nil, closed, usagef("--from is a number from 0 on, and --width one up to 32")
	case f.count > 0:
		return batch.Numbered(f.prefix, f.from, f.count, f.width), closed, nil
	}
	names, err := devicesOf(ctx, client, order)
	return batch.Named(names), closed, err
}

// openRequests opens a folder, a ZIP, or a file with requests.
func openRequests(name string) (devices func(func(batch.Item, error) bool), closed func(), err error) {
	closed = func() {}
	info, err := os.Stat(name)
	if err != nil {
		return nil, closed, err
	}
	if info.IsDir() {
		return batch.RequestFolder(name), closed, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, closed, err
	}
	closed = func() { file.Close() }
	in := bufio.NewReader(file) // a pipe cannot be read from its beginning again
	if head, err := in.Peek(4); err == nil && string(head) == "PK\x03\x04" {
		return batch.RequestArchive(file, info.Size()), closed, nil
	}
	return batch.Requests(in), closed, nil
}

// devicesOf names the devices of a work order: those of its ranges, or those that the
// inventory lists under it.
func devicesOf(ctx context.Context, client *admin.Client, id string) ([]string, error) {
	order, err := client.Order(ctx, id)
	if err != nil {
		return nil, err
	}
	if order.Listed || len(order.Ranges) == 0 {
		return listedUnder(ctx, client, id)
	}
	var names []string
	for _, r := range order.Ranges {
		for name := range inventory.Members(ledger.Range{First: r.First, Last: r.Last}) {
			if len(names) == batch.MaxItems {
				return nil, tooMany(id)
			}
			names = append(names, name)
		}
	}
	return names, nil
}

func tooMany(order string) error {
	return fmt.Errorf("work order %q is for more than %d devices, which is what one batch may have: name them by --names or --count, in several", order, batch.MaxItems)
}

// listedUnder names the devices that the inventory lists under a work order.
func listedUnder(ctx context.Context, client *admin.Client, order string) ([]string, error) {
	var names []string
	for q := (admin.DeviceQuery{Order: order, Limit: admin.MaxPage}); ; {
		page, err := client.Devices(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, d := range page.Devices {
			names = append(names, d.ID)
		}
		if len(names) > batch.MaxItems {
			return nil, tooMany(order)
		}
		if q.After = page.Next; page.Next == "" {
			break
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("the inventory lists no device under work order %q: name them by --names, --count or --csrs", order)
	}
	return names, nil
}
