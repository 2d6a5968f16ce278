package rotation_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"sync"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/ledger"
)

// authorities is the registration authority's part.
type authorities world

func (w *authorities) do(name string, f func() error) error { return (*world)(w).call(name, f) }

func (w *authorities) Examine(context.Context, rotation.Spec) (found rotation.Findings, err error) {
	err = (*world)(w).read("examine", func() error { found = w.findings; return nil })
	return found, err
}

func (w *authorities) SignsNow(_ context.Context, authority string) error {
	return (*world)(w).read("signs "+authority, func() error { return w.broken[authority] })
}

func (w *authorities) Make(context.Context, ledger.Rotation, rotation.Spec) error {
	return w.do("make", func() error {
		if w.ceremony != nil && w.brought < 1 {
			return fmt.Errorf("making the root: %w", w.ceremony)
		}
		w.made = true
		return nil
	})
}

func (w *authorities) Certify(_ context.Context, r ledger.Rotation, _ rotation.Spec) (twins []ledger.Twin, err error) {
	err = w.do("certify", func() error {
		if !w.made {
			(*world)(w).complain("certified what is not there")
		}
		if w.ceremony != nil && w.brought < 2 {
			return fmt.Errorf("certifying: %w", w.ceremony)
		}
		w.certified = true
		if r.Kind == ledger.RotateRoot {
			twins = []ledger.Twin{{Authority: "line-b", DER: twin()}, {Authority: "line-a", DER: twin()}}
		}
		return nil
	})
	return twins, err
}

func (w *authorities) Bring(_ context.Context, _ ledger.Rotation, _ rotation.Spec, certificates []*x509.Certificate, _ string) (words []string, err error) {
	err = w.do("bring", func() error {
		w.brought += len(certificates)
		words = []string{"the new root"}
		return nil
	})
	return words, err
}

func (w *authorities) VerifyPaths(context.Context, ledger.Rotation) (lines []string, err error) {
	err = (*world)(w).read("verify", func() error {
		if !w.certified {
			(*world)(w).complain("verified what is not certified")
		}
		w.verified = append(w.verified, w.served)
		lines = []string{"trusts a, shown b: ok", "trusts b, shown a: ok"}
		return nil
	})
	return lines, err
}

func (w *authorities) Distribute(context.Context, ledger.Rotation) error {
	return w.do("distribute", func() error {
		if len(w.verified) == 0 {
			(*world)(w).complain("distributed what was not verified")
		}
		w.given = true
		return nil
	})
}

func (w *authorities) Adopt(_ context.Context, r ledger.Rotation) error {
	return w.do("adopt "+string(r.Issue), func() error {
		if r.Issue != ledger.IssueOld && r.Issue != ledger.IssueNew {
			(*world)(w).complain("adopted for %q", r.Issue)
		}
		w.adopted = r.Issue
		return nil
	})
}

func (w *authorities) EndBridges(_ context.Context, r ledger.Rotation) error {
	return w.do("end bridges", func() error {
		if w.served != r.Issue || w.adopted != r.Issue {
			(*world)(w).complain("bridges ended while %s serves and %s is adopted, and the record says %s", w.served, w.adopted, r.Issue)
		}
		for _, c := range w.clouds {
			if r.Issue == ledger.IssueNew && !c.absent && c.stage != rotation.StageOldInactive {
				(*world)(w).complain("bridges ended with %s at %s", c.name, c.stage)
			}
		}
		if w.given && w.late {
			w.counts[ledger.AnchorTrusts]++
		}
		w.given = false
		return nil
	})
}

func (w *authorities) LeftBelow(_ context.Context, r ledger.Rotation) (left rotation.Left, err error) {
	err = (*world)(w).read("left below "+r.Old, func() error { left = w.below[r.Old]; return nil })
	return left, err
}

func (w *authorities) Revoke(_ context.Context, _ ledger.Rotation, reason ledger.Reason, actor string) error {
	return w.do("revoke", func() error {
		if reason != ledger.KeyCompromise || actor == "" {
			(*world)(w).complain("revoked for %s by %q", reason, actor)
		}
		w.revoked = true
		return nil
	})
}

func (w *authorities) Refresh(context.Context) error {
	return w.do("refresh", func() error {
		for _, r := range w.rotations[max(0, len(w.rotations)-1):] { // those before it are over
			if r.Issue != w.served {
				for _, c := range w.clouds {
					if !c.absent && r.Issue != ledger.IssueOld && c.stage != rotation.StageBoth {
						(*world)(w).complain("%s serves and %s is at %s", r.Issue, c.name, c.stage)
					}
				}
				if r.Kind == ledger.RotateRoot && r.Issue != ledger.IssueOld && !w.given {
					(*world)(w).complain("%s serves before anything was given out", r.Issue)
				}
			}
			w.served, w.servedAt = r.Issue, rotation.State(r.State)
		}
		return nil
	})
}

// twin is the certificate of an issuing CA under a root.
var twin = sync.OnceValue(func() []byte {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	root := &x509.Certificate{Subject: pkix.Name{CommonName: "B"}, SubjectKeyId: []byte{1}}
	issuing := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "I"}, SubjectKeyId: []byte{2}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: start, NotAfter: start.Add(1000 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, issuing, root, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return der
})
