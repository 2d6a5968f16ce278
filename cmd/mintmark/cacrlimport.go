package main

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"strings"

	"mintmark/admin"
)

// importCRL brings a CRL in PEM or DER.
func (a *app) importCRL(ctx context.Context, name, file string) error {
	content, err := readFile(file, maxPEM)
	if err != nil {
		return err
	}
	if !bytes.Contains(content, []byte("-----BEGIN")) {
		content = pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: content})
	}
	return a.withClient(ctx, func(client *admin.Client) error {
		done, err := client.ImportCRL(ctx, name, admin.CRLImport{Content: string(content)})
		if err != nil {
			return err
		}
		if done.Warning != "" {
			a.say("warning: %s", done.Warning)
		}
		if a.json {
			return a.printJSON(done)
		}
		a.say("imported CRL %d of %s, next update %s", done.Number, done.Issuer, date(done.NextUpdate))
		for _, serial := range done.Revoked {
			if _, err := fmt.Fprintf(a.out, "revoked %s\n", strings.TrimSpace(serial)); err != nil {
				return err
			}
		}
		return nil
	})
}
