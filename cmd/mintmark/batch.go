package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"mintmark/issuer/batch"
)

func newBatch(a *app) *cobra.Command {
	c := a.group("batch", "Certificates for many devices at once",
		`Batch makes the certificates of a shipment in one folder: from certification
requests, or with keys that it makes and encrypts for the customer. The folder
delivery in it is what the customer gets: the parts, a list of all certificates,
the root, and a signed manifest with the hash of everything.

A batch that was cut off, by whatever, is gone on from with mintmark batch
resume, which issues nothing twice and loses no key. docs/batch.md has the rest.`,
		`  mintmark batch create --out WO-117 --profile device --issuer issuing --count 500 --prefix SN- --encrypt-to customer.pem --dir ./factory
  mintmark batch resume WO-117 --dir ./factory
  mintmark batch verify WO-117/delivery --ca root.pem`)
	c.AddCommand(newBatchCreate(a), newBatchResume(a), newBatchStatus(a), newBatchVerify(a))
	return c
}

func newBatchResume(a *app) *cobra.Command {
	return a.command("resume FOLDER [flags]", "Go on with a batch",
		`Resume goes on with a batch that was cut off, and asks again for what was
refused. What a device has it keeps. It may be run as often as one likes, from
where the server is reached. It exits with 1 if any device is refused still.`,
		`  mintmark batch resume WO-117 --dir ./factory`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			return a.runBatch(c.Context(), args[0])
		})
}

func newBatchStatus(a *app) *cobra.Command {
	return a.command("status FOLDER", "Say how far a batch is",
		`Status says how far a batch is, and who was refused and why. It reads the folder
and asks nobody, so that it may be run beside the batch.`,
		`  mintmark batch status WO-117`,
		cobra.ExactArgs(1), func(_ *cobra.Command, args []string) error {
			plan, s, err := batch.Status(args[0])
			if err != nil {
				return noBatch(args[0], err)
			}
			if a.json {
				return a.printJSON(s)
			}
			t := newTable(a.out)
			t.field("batch", plan.ID)
			t.field("created", date(plan.Created))
			t.field("profile", plan.Profile)
			t.field("issuer", plan.Issuer)
			t.field("order", plan.Order)
			t.field("devices", fmt.Sprint(s.Devices))
			t.field("issued", fmt.Sprint(s.Issued))
			t.field("refused", fmt.Sprint(s.Refused))
			t.field("not asked", fmt.Sprint(s.Unasked))
			t.field("no answer", fmt.Sprint(s.Open))
			t.field("manifest", map[bool]string{true: "signed", false: "not signed as things are: mintmark batch resume " + args[0]}[s.Signed])
			if err := t.flush(); err != nil {
				return err
			}
			return a.printRefused(args[0])
		})
}

// mostRefused is how many refusals are shown; the file has all.
const mostRefused = 20

// printRefused shows who got no certificate.
func (a *app) printRefused(dir string) error {
	shown := 0
	t := newTable(a.err)
	err := batch.EachRefused(dir, func(r batch.Refused) error {
		switch shown++; {
		case shown == 1:
			t.row("DEVICE", "RULE", "WHY")
			fallthrough
		case shown <= mostRefused:
			t.row(r.Device, r.Rule, r.Text)
		}
		return nil
	})
	if err := errors.Join(err, t.flush()); err != nil {
		return err
	}
	if shown > mostRefused {
		a.say("%d more are in %s", shown-mostRefused, filepath.Join(dir, batch.RefusedFile))
	}
	return nil
}

func newBatchVerify(a *app) *cobra.Command {
	var ca string
	c := a.command("verify FOLDER --ca FILE", "Check a delivery",
		`Verify checks the delivery of a batch, without a server: the signature over its
manifest up to the root, the hash of every file, and the path of every
certificate. It is for whoever gets the delivery, too. The root must have come
by another way than the delivery itself.`,
		`  mintmark batch verify WO-117/delivery --ca root.pem`,
		cobra.ExactArgs(1), func(_ *cobra.Command, args []string) error {
			roots, err := readCertificates(ca)
			if err != nil {
				return err
			}
			return a.verifyBatch(args[0], roots)
		})
	c.Flags().StringVar(&ca, "ca", "", "`file` with the root of the certificates")
	require(c, "ca")
	return c
}

func (a *app) verifyBatch(dir string, roots []*x509.Certificate) error {
	v, err := batch.Verify(dir, roots, time.Now())
	if err != nil {
		return fmt.Errorf("the delivery is not good: %w", err)
	}
	for _, name := range v.Unlisted {
		a.say("%s is not in the manifest: nothing is known of it", printable(name))
	}
	if a.json {
		return a.printJSON(v)
	}
	_, err = fmt.Fprintf(a.out, "good: batch %s, %s, %s, signed %s\n", v.Batch, things(int64(v.Devices), "certificate"), things(int64(v.Files), "file"), date(v.Signed))
	return err
}

// noBatch says that a folder holds no batch.
func noBatch(dir string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s holds no batch: mintmark batch create begins one", dir)
	}
	return err
}
