package interop

import (
	"crypto/x509"
	"path/filepath"
	"slices"
	"testing"
)

// certd sends what the certificate daemon of Azure IoT Edge
// (iot-identity-service 1.6, est.rs) sends for one certificate: two requests at
// the same time with the same headers, which must both be answered by 200, and
// whose certificates it joins to a chain as they come.
const certdRequests = `
printf 'content-type: application/pkcs10\ncontent-transfer-encoding: base64\n' > headers
post() { curl -sS --http1.1 --no-alpn $TLS --cacert $ROOT $AUTH -H Accept: -H User-Agent: -H "content-type: application/pkcs10" -H "content-transfer-encoding: base64" \
	--data-binary @$NAME.b64 -D enroll.header -o enroll.body $EST/$LABEL/simpleenroll; }
get() { curl -sS --http1.1 --no-alpn $TLS --cacert $ROOT $AUTH -H Accept: -H User-Agent: -D cacerts.header -o cacerts.body $EST/$LABEL/cacerts; }
post & one=$!
get & two=$!
wait $one; wait $two
for answer in enroll cacerts; do
	head -1 $answer.header | grep -q '^HTTP/1.1 200 ' || { cat $answer.header $answer.body; exit 1; }
	grep -Eq '^Content-Type: application/pkcs7-mime(;.*)?.$' $answer.header
	openssl base64 -d -A -in $answer.body | openssl pkcs7 -inform DER -print_certs -out $answer.pem
done
cat enroll.pem cacerts.pem > $NAME.chain.pem
`

// certd's requests for an EST identity (P-256 and clientAuth), a device identity
// (RSA-2048 and no extensions) and an Edge CA.
const (
	certdESTID = `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $NAME.key -subj "/CN=$CN" -addext extendedKeyUsage=clientAuth -outform DER -out csr 2>/dev/null
openssl base64 -in csr -out $NAME.b64
`
	certdDevice = `openssl req -new -newkey rsa:2048 -nodes -keyout $NAME.key -subj "/CN=$CN" -config /dev/null -outform DER -out csr 2>/dev/null
openssl base64 -in csr -out $NAME.b64
`
	certdEdgeCA = `openssl req -new -newkey rsa:2048 -nodes -keyout $NAME.key -subj "/CN=$CN" -addext keyUsage=critical,digitalSignature,keyCertSign -addext basicConstraints=critical,CA:TRUE,pathlen:0 -outform DER -out csr 2>/dev/null
openssl base64 -in csr -out $NAME.b64
`
	// The bootstrap is a password; from then on the EST identity, without its
	// chain.
	certdBootstrap = `NAME=est-id; AUTH="-u $USERPASS"
` + certdESTID + certdRequests + `AUTH="--cert est-id.pem --key est-id.key"; cp enroll.pem est-id.pem
`
)

func certd(t *testing.T, s *site) []cell {
	if _, ok := tool(t, "curl"); !ok {
		return nil
	}
	var cells []cell
	for _, version := range []struct{ name, flags string }{{"TLS1.2", "--tlsv1.2 --tls-max 1.2"}, {"TLS1.3", "--tlsv1.3"}} {
		add := func(operation, auth, label, prefix, script string, check func(t *testing.T, s *site, dir, name string)) {
			cells = append(cells, cell{"IoT Edge", operation, version.name, auth, func(t *testing.T, s *site, dir string) {
				name := prefix + s.name("edge")
				s.shell(t, dir, script, "TLS="+version.flags, "CN="+name, "LABEL="+label)
				check(t, s, dir, name)
			}})
		}
		identity := func(file string) func(t *testing.T, s *site, dir, name string) {
			return func(t *testing.T, s *site, dir, name string) {
				enrolled(t, s, filepath.Join(dir, file+".chain.pem"), name)
				ordered(t, certificates(t, filepath.Join(dir, file+".chain.pem")), 3)
			}
		}
		add("EST identity", "Basic", "iotedge", "", `NAME=est-id; AUTH="-u $USERPASS"
`+certdESTID+certdRequests, identity("est-id"))
		add("device identity", "certificate", "iotedge", "", certdBootstrap+`NAME=device-id
`+certdDevice+certdRequests, identity("device-id"))
		add("renewal of the EST identity", "certificate", "iotedge", "", certdBootstrap+`cp est-id.key old.key; AUTH="--cert est-id.pem --key old.key"
`+certdESTID+certdRequests, identity("est-id"))
		add("EST identity beside a password", "certificate", "iotedge", "", certdBootstrap+`cp est-id.key old.key; AUTH="--cert est-id.pem --key old.key -u $USERPASS"
`+certdESTID+certdRequests, identity("est-id"))
		add("Edge CA", "certificate", "iotedge-ca", "aziot-edge CA ", certdBootstrap+`NAME=edge-ca
`+certdEdgeCA+certdRequests, func(t *testing.T, s *site, dir, name string) {
			chain := certificates(t, filepath.Join(dir, "edge-ca.chain.pem"))
			ordered(t, chain, 3)
			if c := chain[0]; !c.IsCA || !c.MaxPathLenZero || c.KeyUsage&x509.KeyUsageCertSign == 0 || c.Subject.CommonName != name {
				t.Errorf("%v: CA %v, path length zero %v, key usage %b", c.Subject, c.IsCA, c.MaxPathLenZero, c.KeyUsage)
			}
		})
	}
	return cells
}

// ordered checks that each certificate of a chain certifies the one before it,
// up to the root.
func ordered(t *testing.T, chain []*x509.Certificate, length int) {
	t.Helper()
	if len(chain) != length {
		t.Errorf("%d certificates in the chain, want %d", len(chain), length)
	}
	for i, c := range chain {
		issuer := chain[min(i+1, len(chain)-1)]
		if err := c.CheckSignatureFrom(issuer); err != nil {
			t.Errorf("certificate %d, %v: %v", i, c.Subject, err)
		}
	}
	if slices.ContainsFunc(chain[:len(chain)-1], func(c *x509.Certificate) bool { return c.CheckSignatureFrom(c) == nil }) {
		t.Error("a root stands within the chain")
	}
}
