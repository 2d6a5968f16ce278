package interop

import (
	"crypto/x509/pkix"
	"os/exec"
	"path/filepath"
	"testing"

	"mintmark/internal/pkitest"
)

func find(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

// strongSwan's pki knows cacerts, simpleenroll and simplereenroll, and polls
// after a 202. It offers TLS 1.3 only where its configuration says so.
func strongSwan(t *testing.T, s *site) []cell {
	pki, ok := tool(t, "pki")
	if !ok {
		return nil
	}
	// Which versions it offers stands in a file that the environment names.
	run := func(t *testing.T, dir, version, script string) {
		t.Helper()
		file := filepath.Join(dir, "strongswan.conf")
		write(t, file, "libtls {\n  version_min = "+version+"\n  version_max = "+version+"\n}\n")
		s.shell(t, dir, script, "STRONGSWAN_CONF="+file, "PKI="+pki)
	}
	const anchors = `$PKI --estca --url $BASE$LABEL --cacert $ROOT --caout ca.pem --outform pem --force && `
	const request = `openssl ecparam -genkey -name prime256v1 -noout -out $NAME.key && $PKI --req --type ecdsa --in $NAME.key --dn "CN=$NAME" --outform pem > $NAME.csr && `
	const enroll = `$PKI --est --url $BASE$LABEL --in $NAME.csr --cacert $ROOT --cacert ca-1.pem --userpass $USERPASS $MORE --outform pem > $NAME.pem`
	const renew = ` && openssl ecparam -genkey -name prime256v1 -noout -out new.key && $PKI --req --type ecdsa --in new.key --dn "CN=$NAME" --outform pem > new.csr && ` +
		`$PKI --est --url $BASE$LABEL --in new.csr --cacert $ROOT --cacert ca-1.pem --cert $NAME.pem --key $NAME.key --outform pem > new.pem`
	var cells []cell
	for _, version := range []string{"1.2", "1.3"} {
		add := func(operation, auth string, run func(t *testing.T, s *site, dir string)) {
			cells = append(cells, cell{"strongSwan", operation, "TLS" + version, auth, run})
		}
		add("cacerts", "none", func(t *testing.T, s *site, dir string) {
			run(t, dir, version, `LABEL=; `+anchors+`true`)
			if c := certificates(t, filepath.Join(dir, "ca.pem"))[0]; !c.Equal(certificates(t, s.root)[0]) {
				t.Errorf("root is %v", c.Subject)
			}
		})
		add("simpleenroll", "Basic", func(t *testing.T, s *site, dir string) {
			name := s.name("swan")
			run(t, dir, version, `LABEL=/line-a; NAME=`+name+`; `+anchors+request+enroll)
			enrolled(t, s, filepath.Join(dir, name+".pem"), name)
		})
		add("simplereenroll", "certificate", func(t *testing.T, s *site, dir string) {
			name := s.name("swan")
			run(t, dir, version, `LABEL=; NAME=`+name+`; `+anchors+request+enroll+renew)
			enrolled(t, s, filepath.Join(dir, "new.pem"), name)
		})
		add("simpleenroll 202", "Basic", func(t *testing.T, s *site, dir string) {
			name := s.name("swan")
			approved := s.approving(t, name)
			run(t, dir, version, `LABEL=/waiting; NAME=`+name+`; MORE="--interval 1 --maxpolltime 60"; `+anchors+request+enroll)
			approved()
			enrolled(t, s, filepath.Join(dir, name+".pem"), name)
		})
	}
	// Before answers went out in one record, 13 of 50 failed.
	cells = append(cells, cell{"strongSwan", "simpleenroll 200 times", "TLS1.2", "Basic", func(t *testing.T, s *site, dir string) {
		run(t, dir, "1.2", `LABEL=; `+anchors+`true`)
		for range 200 {
			name := s.name("swan")
			csr := pkitest.CSR(t, pkitest.NewKey(t), pkix.Name{CommonName: name})
			write(t, filepath.Join(dir, name+".csr"), string(pkitest.PEM("CERTIFICATE REQUEST", csr)))
			run(t, dir, "1.2", `LABEL=; NAME=`+name+`; `+enroll)
			enrolled(t, s, filepath.Join(dir, name+".pem"), name)
		}
	}})
	return cells
}
