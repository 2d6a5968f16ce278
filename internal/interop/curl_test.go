package interop

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"mintmark/internal/pkcs10"
	"mintmark/internal/pkitest"
)

// The commands of docs/clients.md: what a person types who has nothing else.
const (
	curlRequest = `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $NAME.key -subj /CN=$NAME -outform DER -out $NAME.csr 2>/dev/null
openssl base64 -in $NAME.csr -out $NAME.b64
`
	curlEnroll = `curl -sS --fail-with-body $TLS --cacert $ROOT $AUTH -H "Content-Type: application/pkcs10" --data-binary @$NAME.b64 -o answer $EST/$LABEL/$OP
openssl base64 -d -A -in answer -out answer.p7
openssl pkcs7 -inform DER -in answer.p7 -print_certs -out $NAME.pem
`
	// The two parts of the answer, by their media types.
	curlKeygen = `curl -sS --fail-with-body $TLS --cacert $ROOT $AUTH -H "Content-Type: application/pkcs10" --data-binary @$NAME.b64 -D header -o answer $EST/$LABEL/$OP || { cat answer; exit 1; }
grep -qi '^content-type: multipart/mixed' header
part() { tr -d '\r' < answer | awk -v type="Content-Type: $1" 'index($0, type)==1{k=1} k&&/^$/{getline; print; exit}' | openssl base64 -d -A; }
part 'application/pkcs7-mime; smime-type=certs-only' | openssl pkcs7 -inform DER -print_certs -out $NAME.pem
`
	curlDecrypt = `part 'application/pkcs7-mime; smime-type=server-generated-key' > enveloped
openssl cms -decrypt -inform DER -in enveloped $KEY -outform DER -out signed
`
	// The key of an asymmetric key package (RFC 5958) that is signed by the server.
	curlVerify = `openssl cms -verify -inform DER -in signed -CAfile $ROOT -purpose any -binary -out package
openssl asn1parse -inform DER -in package -strparse $(openssl asn1parse -inform DER -in package | sed -n '2s/^ *\([0-9]*\):.*/\1/p') -noout -out private.der
openssl pkey -inform DER -in private.der -pubout -out public.pem
openssl x509 -in $NAME.pem -noout -pubkey | cmp - public.pem
`
)

// Algorithms that a client can decrypt with (RFC 8551, Section 2.5.2).
var (
	aes256CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
	ecdhSHA256 = asn1.ObjectIdentifier{1, 3, 132, 1, 11, 1}
	aes256Wrap = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 45}
)

func capabilities(algorithms ...asn1.ObjectIdentifier) []pkcs10.Capability {
	var list []pkcs10.Capability
	for _, a := range algorithms {
		list = append(list, pkcs10.Capability{Algorithm: a})
	}
	return list
}

// request writes a certification request with attributes as base64, and nothing
// of its key: that counts for nothing.
func request(t *testing.T, file, name string, attributes pkcs10.Attributes) {
	t.Helper()
	der, err := pkcs10.Create(&x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, attributes, pkitest.Key(t, "P-256"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, base64.StdEncoding.EncodeToString(der))
}

// wrap makes a SignedData, which is what the content of an EnvelopedData is, into
// the ContentInfo that openssl reads.
func wrap(t *testing.T, file string) {
	t.Helper()
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2})
		b.AddASN1(cryptobyteasn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(read(t, file))) })
	})
	der, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(der))
}

func curl(t *testing.T, s *site) []cell {
	if _, ok := tool(t, "curl"); !ok {
		return nil
	}
	if _, ok := tool(t, "openssl"); !ok {
		return nil
	}
	var cells []cell
	for _, version := range []struct{ client, name, flags string }{
		{"curl, HTTP/1.1", "TLS1.2", "--tlsv1.2 --tls-max 1.2 --http1.1"},
		{"curl, HTTP/2", "TLS1.2", "--tlsv1.2 --tls-max 1.2 --http2"},
		{"curl, HTTP/1.1", "TLS1.3", "--tlsv1.3 --http1.1"},
		{"curl, HTTP/2", "TLS1.3", "--tlsv1.3 --http2"},
	} {
		add := func(operation, auth, script string, check func(t *testing.T, s *site, dir, name string)) {
			cells = append(cells, cell{version.client, operation, version.name, auth, func(t *testing.T, s *site, dir string) {
				name := s.name("curl")
				s.shell(t, dir, script, "TLS="+version.flags, "NAME="+name, "LABEL=line-a", "OP=simpleenroll")
				check(t, s, dir, name)
			}})
		}
		add("cacerts", "none", `curl -sS --fail-with-body $TLS --cacert $ROOT -o answer $EST/cacerts
openssl base64 -d -A -in answer -out answer.p7
openssl cms -cmsout -noout -print -inform DER -in answer.p7 >/dev/null
openssl pkcs7 -inform DER -in answer.p7 -print_certs -out ca.pem`,
			func(t *testing.T, s *site, dir, _ string) {
				if n := len(certificates(t, filepath.Join(dir, "ca.pem"))); n != 2 {
					t.Errorf("%d certificates", n)
				}
			})
		add("csrattrs", "none", `curl -sS --fail-with-body $TLS --cacert $ROOT -o answer $EST/keygen/csrattrs
openssl base64 -d -A -in answer -out answer.der
openssl asn1parse -inform DER -in answer.der > attributes`,
			func(t *testing.T, s *site, dir, _ string) {
				if text := read(t, filepath.Join(dir, "attributes")); !strings.Contains(text, "id-ecPublicKey") {
					t.Errorf("no key type in\n%s", text)
				}
			})
		good := func(t *testing.T, s *site, dir, name string) { enrolled(t, s, filepath.Join(dir, name+".pem"), name) }
		basic := `AUTH="-u $USERPASS"
` + curlRequest + curlEnroll
		add("simpleenroll", "Basic", basic, good)
		add("simpleenroll, verified by cacerts", "Basic", basic+`mv answer.p7 mine.p7
curl -sS --fail-with-body $TLS --cacert $ROOT -o answer $EST/$LABEL/cacerts
openssl base64 -d -A -in answer | openssl pkcs7 -inform DER -print_certs -out anchors.pem
openssl verify -CAfile $ROOT -untrusted anchors.pem $NAME.pem
`, good)
		add("simpleenroll, challenged", "Basic", `AUTH="--anyauth -u $USERPASS"
`+curlRequest+curlEnroll, good)
		add("simpleenroll, PEM", "Basic", `AUTH="-u $USERPASS"
`+curlRequest+`openssl req -inform DER -in $NAME.csr -out $NAME.b64
`+curlEnroll, good)
		add("simplereenroll", "certificate", basic+`cp $NAME.pem old.pem; AUTH="--cert old.pem --key $NAME.key"; OP=simplereenroll
`+curlEnroll+`! cmp -s old.pem $NAME.pem
`, good)
		rekey := basic + `cp $NAME.pem old.pem; cp $NAME.key old.key; AUTH="--cert old.pem --key old.key"; OP=simplereenroll
` + curlRequest + curlEnroll
		add("simplereenroll, re-key", "certificate", rekey, good)
		add("simpleenroll, renewing", "certificate", strings.ReplaceAll(rekey, "OP=simplereenroll", "OP=simpleenroll"), good)
		add("serverkeygen, plain", "Basic", `AUTH="-u $USERPASS"; LABEL=keygen; OP=serverkeygen
`+curlRequest+curlKeygen+`part application/pkcs8 | openssl pkey -inform DER -pubout -out public.pem
openssl x509 -in $NAME.pem -noout -pubkey | cmp - public.pem
`, good)
		// The attributes that ask for encryption, which openssl req cannot write,
		// stand in requests that were made before.
		symmetric := pkcs10.Attributes{DecryptKeyIdentifier: []byte("line-7"), Capabilities: capabilities(aes256CBC, aes256Wrap)}
		cells = append(cells, cell{version.client, "serverkeygen, shared key", version.name, "Basic", func(t *testing.T, s *site, dir string) {
			name := s.name("curl")
			request(t, filepath.Join(dir, name+".b64"), name, symmetric)
			s.shell(t, dir, `AUTH="-u $USERPASS"; KEY="-secretkey `+symmetricKey+` -secretkeyid $(printf line-7 | od -An -tx1 | tr -d ' ')"
`+curlKeygen+curlDecrypt, "TLS="+version.flags, "NAME="+name, "LABEL=keygen", "OP=serverkeygen")
			wrap(t, filepath.Join(dir, "signed"))
			s.shell(t, dir, curlVerify, "NAME="+name)
			good(t, s, dir, name)
		}})
		cells = append(cells, cell{version.client, "serverkeygen, ECDH", version.name, "certificate", func(t *testing.T, s *site, dir string) {
			name := s.name("curl")
			s.shell(t, dir, basic+"mv $NAME.pem old.pem; mv $NAME.key old.key", "TLS="+version.flags, "NAME="+name, "LABEL=keygen", "OP=simpleenroll")
			old := certificates(t, filepath.Join(dir, "old.pem"))[0]
			request(t, filepath.Join(dir, name+".b64"), name, pkcs10.Attributes{AsymmetricDecryptKeyIdentifier: old.SubjectKeyId, Capabilities: capabilities(aes256CBC, aes256Wrap, ecdhSHA256)})
			s.shell(t, dir, `AUTH="--cert old.pem --key old.key"; KEY="-recip old.pem -inkey old.key"
`+curlKeygen+curlDecrypt, "TLS="+version.flags, "NAME="+name, "LABEL=keygen", "OP=serverkeygen")
			wrap(t, filepath.Join(dir, "signed"))
			s.shell(t, dir, curlVerify, "NAME="+name)
			good(t, s, dir, name)
		}})
		add("fullcmc", "Basic", `[ "$(curl -sS $TLS --cacert $ROOT -u $USERPASS -H 'Content-Type: application/pkcs7-mime; smime-type=CMC-request' --data-binary AAAA -o /dev/null -w '%{http_code}' $EST/line-a/fullcmc)" = 501 ]
`, func(*testing.T, *site, string, string) {})
		add("a refusal in words", "Basic", curlRequest+`curl -sS $TLS --cacert $ROOT -u $USERPASS --data-binary @$NAME.b64 -o answer $EST/line-a/simpleenroll
grep -q '^refused by rule media-type: ' answer
`, func(*testing.T, *site, string, string) {})
		add("wrong password", "Basic", curlRequest+`[ "$(curl -sS $TLS --cacert $ROOT -u factory:wrong -H 'Content-Type: application/pkcs10' --data-binary @$NAME.b64 -o /dev/null -w '%{http_code}' $EST/line-a/simpleenroll)" = 401 ]
`, func(*testing.T, *site, string, string) {})
	}
	return cells
}
