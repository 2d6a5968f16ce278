package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"mintmark/admin"
	"mintmark/internal/cms"
)

// bundleForms are the forms of a bundle.
var bundleForms = []string{"pem", "der", "p7b", "header"}

func newRotateBundle(a *app) *cobra.Command {
	var trust, form, out string
	var bridges bool
	c := a.command("bundle ID [flags]", "Write the trust anchors of a rotation for a firmware image",
		`Bundle writes the roots that devices are to trust: the old one, both, or the new
one. With --bridges come the certificates of each root by the other, for stacks
that build paths and take more than roots; they are no trust anchors.

  pem     text, one certificate after the other
  der     one certificate, and no more
  p7b     PKCS #7, as /cacerts answers
  header  C arrays of DER with a table, for firmware`,
		`  mintmark rotate bundle k3f7q2xw4m --trust both --out anchors.pem --dir ./factory
  mintmark rotate bundle k3f7q2xw4m --trust new --form header --out anchors.h \
      --dir ./factory`, cobra.ExactArgs(1),
		func(c *cobra.Command, args []string) error {
			if !slices.Contains([]string{"old", "both", "new"}, trust) {
				return usagef("--trust %q is none of old, both, new", trust)
			}
			if !slices.Contains(bundleForms, form) {
				return usagef("--form %q is none of %s", form, strings.Join(bundleForms, ", "))
			}
			return a.withClient(c.Context(), func(client *admin.Client) error {
				bundle, err := client.AnchorBundle(c.Context(), args[0], trust, bridges)
				if err != nil {
					return noRotation(args[0], err)
				}
				list, err := bundleCertificates(bundle)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(bundle)
				}
				content, err := bundleContent(form, args[0], bundle, list)
				if err != nil {
					return err
				}
				if err := a.writeOut(out, content); err != nil || out == "" {
					return err
				}
				for _, one := range bundle.Certificates {
					a.say("%s: %s, valid until %s, SHA-256 %s", one.Kind, printable(one.Subject), one.NotAfter.UTC().Format(time.DateOnly), one.SHA256)
				}
				return nil
			})
		})
	f := c.Flags()
	f.StringVar(&trust, "trust", "", "`which` roots: old, both, new")
	f.StringVar(&form, "form", "pem", "`form`: pem, der, p7b, header")
	f.BoolVar(&bridges, "bridges", false, "with the certificates of each root by the other")
	f.StringVarP(&out, "out", "o", "", "`file` to write (default standard output)")
	require(c, "trust")
	return c
}

// bundleCertificates parses what the server sent, and holds it against what it says of it.
func bundleCertificates(bundle admin.AnchorBundle) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for i, one := range bundle.Certificates {
		c, err := x509.ParseCertificate(one.DER)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the server's answer cannot be parsed: %w", i+1, err)
		}
		if sum := sha256.Sum256(one.DER); hex.EncodeToString(sum[:]) != one.SHA256 {
			return nil, fmt.Errorf("certificate %d of the server's answer is not the one that it names", i+1)
		}
		list = append(list, c)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("the server's answer holds no certificate")
	}
	return list, nil
}

func bundleContent(form, id string, bundle admin.AnchorBundle, list []*x509.Certificate) ([]byte, error) {
	switch form {
	case "der":
		if len(list) != 1 {
			return nil, fmt.Errorf("these are %d certificates, and DER holds one: take another --form, or --trust old and --trust new each", len(list))
		}
		return list[0].Raw, nil
	case "p7b":
		return cms.CertsOnly(list)
	case "header":
		return bundleHeader(id, bundle, list), nil
	}
	var b bytes.Buffer
	for i, c := range list {
		fmt.Fprintf(&b, "# %s: %s\n", bundle.Certificates[i].Kind, inComment(c.Subject.String()))
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return b.Bytes(), nil
}

// bundleHeader writes C that any compiler takes since C99. Nothing that is in a
// certificate is more than a comment or a number there.
func bundleHeader(id string, bundle admin.AnchorBundle, list []*x509.Certificate) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "// Trust anchors of rotation %s, written by mintmark rotate bundle. Do not edit.\n", inComment(id))
	b.WriteString("#ifndef MINTMARK_ANCHORS_H\n#define MINTMARK_ANCHORS_H\n\n#include <stddef.h>\n\n")
	for i, c := range list {
		one := bundle.Certificates[i]
		fmt.Fprintf(&b, "// %s: %s\n// valid until %s, SHA-256 %s\n", inComment(one.Kind), inComment(c.Subject.String()), c.NotAfter.UTC().Format(time.DateOnly), one.SHA256)
		fmt.Fprintf(&b, "static const unsigned char mintmark_anchor_%d[%d] = {", i, len(c.Raw))
		for j, octet := range c.Raw {
			if j%16 == 0 {
				b.WriteString("\n   ")
			}
			fmt.Fprintf(&b, " 0x%02x,", octet)
		}
		b.WriteString("\n};\n\n")
	}
	fmt.Fprintf(&b, "static const struct {\n    const unsigned char *der;\n    size_t length;\n    int root; // 0 for a certificate of one root by the other\n} mintmark_anchors[%d] = {\n", len(list))
	for i := range list {
		root := 0
		if strings.HasSuffix(bundle.Certificates[i].Kind, "-root") {
			root = 1
		}
		fmt.Fprintf(&b, "    {mintmark_anchor_%d, sizeof mintmark_anchor_%d, %d},\n", i, i, root)
	}
	b.WriteString("};\n\n#endif\n")
	return b.Bytes()
}

// inComment keeps a name on its line: in C, a backslash at the end of a line goes on with
// the comment, and ??/ is one.
func inComment(s string) string {
	return strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII || !unicode.IsPrint(r) || r == '\\' || r == '?' {
			return '.'
		}
		return r
	}, s)
}
