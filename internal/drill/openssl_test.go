package drill

import (
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mintmark/internal/pkitest"
)

// openssl is a second judge, of one device of each kind.
type openssl struct {
	tool, dir string
	seen      map[string]error // the same question is asked once
}

func (p *plant) newOpenSSL() *openssl {
	return &openssl{tool: pkitest.Tool(p.t, "openssl"), dir: p.t.TempDir(), seen: make(map[string]error)}
}

// verify is the opinion of openssl verify for who trusts anchors alone.
func (o *openssl) verify(trusts *store, chain []*x509.Certificate, at time.Time, purpose string) error {
	key := fmt.Sprintf("%s %x %d %s", trusts.id, chain[0].SerialNumber, at.Unix()/60, purpose)
	for _, c := range chain[1:] {
		key += fmt.Sprintf(" %x", c.SerialNumber)
	}
	if err, ok := o.seen[key]; ok {
		return err
	}
	name := func(part string, list []*x509.Certificate) string {
		var out []byte
		for _, c := range list {
			out = append(out, pkitest.PEM("CERTIFICATE", c.Raw)...)
		}
		file := filepath.Join(o.dir, part+".pem")
		if err := os.WriteFile(file, out, 0o600); err != nil {
			return ""
		}
		return file
	}
	args := []string{"verify", "-no-CApath", "-no-CAstore", "-attime", strconv.FormatInt(at.Unix(), 10), "-purpose", purpose, "-CAfile", name("anchors", trusts.certs)}
	if len(chain) > 1 {
		args = append(args, "-untrusted", name("between", chain[1:]))
	}
	out, err := exec.Command(o.tool, append(args, name("leaf", chain[:1]))...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("openssl: %s", strings.TrimSpace(string(out)))
	}
	o.seen[key] = err
	return err
}
