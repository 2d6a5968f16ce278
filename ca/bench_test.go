package ca

import (
	"crypto/rand"
	"crypto/x509"
	"testing"

	"mintmark/internal/pkitest"
)

// The figure to watch is the ratio of BenchmarkEnroll to BenchmarkRaw: the cost
// of building, linting, signing and comparing to that of one
// x509.CreateCertificate, which signs and verifies.

func BenchmarkRaw(b *testing.B) {
	_, issuing, key := hierarchy(b, "P-256")
	template, pub := deviceTemplate(), pkitest.SecondKey(b, "P-256").Public()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x509.CreateCertificate(rand.Reader, template, issuing.Certificate(), pub, key.Signer); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrepare(b *testing.B) {
	_, issuing, _ := hierarchy(b, "P-256")
	template, pub := deviceTemplate(), pkitest.SecondKey(b, "P-256").Public()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := issuing.Prepare(template, pub, Rules{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	_, issuing, _ := hierarchy(b, "P-256")
	p, err := issuing.Prepare(deviceTemplate(), pkitest.SecondKey(b, "P-256").Public(), Rules{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.state.Store(recorded)
		if _, err := p.Issue(background); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEnroll is Prepare and Issue, what one certificate costs.
func BenchmarkEnroll(b *testing.B) {
	_, issuing, _ := hierarchy(b, "P-256")
	template, pub := deviceTemplate(), pkitest.SecondKey(b, "P-256").Public()
	b.ReportAllocs()
	for b.Loop() {
		p, err := issuing.Prepare(template, pub, Rules{})
		issue(b, p, err)
	}
}

func BenchmarkCheckKey(b *testing.B) {
	for _, alg := range []string{"P-256", "P-384", "P-521", "RSA-2048", "RSA-3072", "RSA-4096"} {
		b.Run(alg, func(b *testing.B) {
			pub := pkitest.Key(b, alg).Public()
			for b.Loop() {
				if err := CheckKey(pub); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
