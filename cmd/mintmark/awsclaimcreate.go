package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/admin"
)

// mostClaims bounds the claim certificates of one order.
const mostClaims = 1000

// claimBatch makes the claim certificates of one order, a file each.
type claimBatch struct {
	a       *app
	client  *admin.Client
	target  string
	order   string
	dir     string
	keyType string
	aws     bool
}

func newAWSClaimCreate(a *app) *cobra.Command {
	var b claimBatch
	var count int
	var wait time.Duration
	c := a.command("create ORDER --count N --out DIR [flags]", "Make claim certificates of a work order",
		`Create makes keys here, has claim certificates issued for them, and writes each
with its key and chain to a file of its own, DIR/ORDER-0001.pem and so on, mode
0600. Keys never leave this machine. Run it again and it continues: files that
are complete count, and are never touched. In another directory the numbers go
on after the claim certificates of the order that are on record here, or with
--aws-issued that AWS has.

The certificates are issued by orders.issuer and registered with AWS, which
takes some seconds. With --aws-issued AWS issues them.`,
		"  mintmark aws claim create WO-117 --target line-a --count 3 --out ./claims --dir ./factory", cobra.ExactArgs(1),
		func(c *cobra.Command, args []string) error {
			if count < 1 || count > mostClaims {
				return usagef("--count %d is not between 1 and %d", count, mostClaims)
			}
			if b.order = args[0]; !filepath.IsLocal(b.order) || filepath.Base(b.order) != b.order {
				return usagef("%q is not the identifier of a work order", b.order)
			}
			if _, err := newKey(b.keyType); err != nil {
				return err
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				b.a, b.client = a, client
				order, err := client.Order(c.Context(), b.order)
				if err != nil {
					return err
				}
				if b.target, err = orderTarget(c.Context(), client, order, b.target); err != nil {
					return err
				}
				made, err := b.make(c.Context(), count)
				if err != nil {
					return err
				}
				return b.report(c.Context(), made, count, wait)
			})
		})
	f := c.Flags()
	f.StringVar(&b.target, "target", "", "the `target` that the order must be for")
	f.IntVar(&count, "count", 0, "how `many` there shall be in the directory")
	f.StringVar(&b.dir, "out", "", "`directory` for the files; made if it is not there")
	f.StringVar(&b.keyType, "key-type", "P-256", "`type` of the keys: P-256, P-384, RSA-2048, RSA-3072")
	f.BoolVar(&b.aws, "aws-issued", false, "have AWS issue them, and not orders.issuer")
	f.DurationVar(&wait, "wait", time.Minute, "how `long` to wait until AWS takes them")
	require(c, "count", "out")
	return c
}

// claimMade is a claim certificate in a file.
type claimMade struct {
	File          string `json:"file"`
	CertificateID string `json:"certificate_id"`
}

// make makes what is missing of a batch.
func (b *claimBatch) make(ctx context.Context, count int) ([]claimMade, error) {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return nil, err
	}
	first, err := b.first(ctx)
	if err != nil {
		return nil, err
	}
	var made []claimMade
	for i := 1; i <= count; i++ {
		file := b.file(first + i - 1)
		key, complete, err := b.key(file)
		if err != nil {
			return made, err
		}
		if complete {
			continue
		}
		one, err := b.one(ctx, file, key)
		if err != nil {
			return made, fmt.Errorf("claim certificate %d of %d: %w\nwhat is made so far is complete: the same command continues", i, count, err)
		}
		made = append(made, one)
		if !b.a.json {
			if _, err := fmt.Fprintf(b.a.out, "%s %s\n", one.File, one.CertificateID); err != nil {
				return made, err
			}
		}
	}
	return made, nil
}

func (b *claimBatch) file(number int) string {
	return filepath.Join(b.dir, fmt.Sprintf("%s-%04d.pem", b.order, number))
}

// first is the number of the directory's first file: that which is there, or the
// one after the claim certificates that the order has.
func (b *claimBatch) first(ctx context.Context) (int, error) {
	entries, err := os.ReadDir(b.dir)
	if err != nil {
		return 0, err
	}
	first := 0
	for _, e := range entries {
		text, ours := strings.CutPrefix(e.Name(), b.order+"-")
		number, err := strconv.Atoi(strings.TrimSuffix(text, ".pem"))
		if ours && err == nil && number > 0 && e.Name() == filepath.Base(b.file(number)) && (first == 0 || number < first) {
			first = number
		}
	}
	if first > 0 {
		return first, nil
	}
	if b.aws { // AWS must answer anyway, and it alone knows those that it issued
		var list admin.AWSClaims
		err := awsIoT.asking(ctx, b.a, b.target, func() (err error) {
			list, err = b.client.AWSClaims(ctx, b.target, b.order)
			return err
		})
		return len(list.Claims) + 1, err
	}
	list, err := b.client.Certificates(ctx, admin.Query{Order: b.order, Purpose: "claim", Limit: admin.MaxPage})
	return len(list.Certificates) + 1, err
}

// key is the key of a file: that of an earlier run which was cut off, or a new
// one, which is on the disk before anything is asked for with it. complete says
// that there is nothing left to do.
func (b *claimBatch) key(file string) (key crypto.Signer, complete bool, err error) {
	key, err = readKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = createKey(file, b.keyType)
		return key, false, err
	}
	if err != nil {
		return nil, false, fmt.Errorf("%w: it is none of ours, and nothing is overwritten", err)
	}
	list, err := readCertificates(file)
	if err != nil || len(list) == 0 {
		return key, false, nil // it holds a key and no certificate yet
	}
	if !samePublic(key.Public(), list[0].PublicKey) {
		return nil, false, fmt.Errorf("%s: the certificate is not for the key: it is none of ours, and nothing is overwritten", file)
	}
	return key, true, nil
}

// samePublic compares two public keys.
func samePublic(a, b crypto.PublicKey) bool {
	one, err := x509.MarshalPKIXPublicKey(a)
	other, err2 := x509.MarshalPKIXPublicKey(b)
	return err == nil && err2 == nil && bytes.Equal(one, other)
}

// one has a certificate issued and completes its file.
func (b *claimBatch) one(ctx context.Context, file string, key crypto.Signer) (claimMade, error) {
	request := requestFlags{name: b.order}
	csr, err := request.make(key)
	if err != nil {
		return claimMade{}, err
	}
	issued, err := b.client.AWSClaim(ctx, b.target, admin.AWSClaimRequest{
		Order: b.order, AWSIssued: b.aws, CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})),
	})
	if err != nil {
		return claimMade{}, err
	}
	block, _ := pem.Decode([]byte(issued.Certificate))
	if block == nil {
		return claimMade{}, errors.New("the server answered without a certificate")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return claimMade{}, fmt.Errorf("parsing the claim certificate: %w", err)
	}
	if !samePublic(key.Public(), certificate.PublicKey) {
		return claimMade{}, errors.New("the server answered with a certificate of another key")
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return claimMade{}, fmt.Errorf("encoding the key: %w", err)
	}
	content := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	content = append(content, certificatePEM(certificate)...)
	content = append(content, issued.Chain...)
	if err := replaceFile(file, content, 0o600); err != nil {
		return claimMade{}, err
	}
	return claimMade{File: file, CertificateID: issued.Claim.CertificateID}, nil
}

// report waits until AWS takes what was made, and says what there is.
func (b *claimBatch) report(ctx context.Context, made []claimMade, count int, wait time.Duration) error {
	waiting := make(map[string]bool)
	for _, one := range made {
		waiting[one.CertificateID] = true
	}
	active := false
	switch {
	case len(made) == 0:
	case !b.a.serverRuns() && !b.aws:
		b.a.say("no server runs, so that AWS does not know them yet: it is told as soon as one does")
	default:
		err := awsIoT.asking(ctx, b.a, b.target, func() error {
			_, err := awaitClaims(ctx, b.client, b.target, b.order, wait, func(one admin.AWSClaim) bool {
				return !waiting[one.CertificateID] || one.Status == "ACTIVE"
			})
			return err
		})
		switch {
		case err == nil:
			active = true
		case errors.Is(err, errNotYet):
			b.a.say("warning: AWS does not take all of them yet: mintmark aws claim list %s shows when it does", b.order)
		default:
			b.a.say("warning: they are issued, and what AWS has cannot be seen: %v", err)
		}
	}
	if b.a.json {
		return b.a.printJSON(struct {
			Order  string      `json:"order"`
			Target string      `json:"target"`
			Made   []claimMade `json:"made"`
			Count  int         `json:"count"`
			// Active: AWS takes those that were made now.
			Active bool `json:"active"`
		}{b.order, b.target, append([]claimMade{}, made...), count, active})
	}
	b.a.say("%s in %s, %d made now", plural(count, "claim certificate"), b.dir, len(made))
	return nil
}
