package ca

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mintmark/internal/pkitest"
)

// The figure to watch is enroll/raw of BenchmarkEnroll: the cost of building,
// linting, signing and comparing to that of one x509.CreateCertificate, which
// signs and verifies.

// encodedTemplate is deviceTemplate as the issuer makes it, with an encoded subject.
func encodedTemplate(b *testing.B) *x509.Certificate {
	t := deviceTemplate()
	var err error
	if t.RawSubject, err = asn1.Marshal(t.Subject.ToRDNSequence()); err != nil {
		b.Fatal(err)
	}
	t.BasicConstraintsValid = true
	return t
}

func BenchmarkRaw(b *testing.B) {
	_, issuing, key := hierarchy(b, "P-256")
	template, pub := encodedTemplate(b), pkitest.SecondKey(b, "P-256").Public()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x509.CreateCertificate(rand.Reader, template, issuing.Certificate(), pub, key.Signer); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrepare(b *testing.B) {
	_, issuing, _ := hierarchy(b, "P-256")
	template, pub := encodedTemplate(b), pkitest.SecondKey(b, "P-256").Public()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := issuing.Prepare(template, pub, Rules{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIssue(b *testing.B) {
	_, issuing, _ := hierarchy(b, "P-256")
	p, err := issuing.Prepare(encodedTemplate(b), pkitest.SecondKey(b, "P-256").Public(), Rules{})
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

// BenchmarkEnroll is Prepare and Issue, what one certificate costs. It takes
// turns with x509.CreateCertificate and reports the ratio of the processor's time,
// which other load on the machine hardly changes.
func BenchmarkEnroll(b *testing.B) {
	_, issuing, key := hierarchy(b, "P-256")
	template, pub := encodedTemplate(b), pkitest.SecondKey(b, "P-256").Public()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var raw, prepare, issued time.Duration
	for b.Loop() {
		start := threadTime(b)
		if _, err := x509.CreateCertificate(rand.Reader, template, issuing.Certificate(), pub, key.Signer); err != nil {
			b.Fatal(err)
		}
		created := threadTime(b)
		p, err := issuing.Prepare(template, pub, Rules{})
		prepared := threadTime(b)
		issue(b, p, err)
		raw += created - start
		prepare += prepared - created
		issued += threadTime(b) - prepared
	}
	b.ReportMetric(float64(prepare)/float64(raw), "prepare/raw")
	b.ReportMetric(float64(issued)/float64(raw), "issue/raw")
	b.ReportMetric(float64(prepare+issued)/float64(raw), "enroll/raw")
}

// threadTime is the processor time of the calling thread.
func threadTime(b *testing.B) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
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
