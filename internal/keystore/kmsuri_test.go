package keystore

import (
	"strings"
	"testing"
)

// vouch is a version of a key in Azure, and arn one in AWS.
const (
	vouch = "0123456789abcdef0123456789abcdef"
	arn   = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
)

func TestKMSURIs(t *testing.T) {
	s := open(t, Config{Dir: "/var/lib/mintmark", TPMDevice: "/dev/tpmrm1"})
	for _, tt := range []struct {
		uri      string
		creating bool
		want     string // of the error
	}{
		{"tpmkms:name=issuing", true, ""},
		{"tpmkms:name=issuing;device=/dev/tpmrm1;storage-directory=keys/tpm", false, ""},
		{"TPMKMS:name=issuing?device=/dev/tpmrm1", false, ""},
		{"awskms:name=factory/issuing;region=eu-central-1", true, ""},
		{"awskms:key-id=" + arn, false, ""},
		{"awskms:key-id=alias/Factory;region=eu-central-1", false, ""},
		{"azurekms:vault=factory-vault;name=issuing", true, ""},
		{"azurekms:vault=factory-vault;name=issuing?hsm=false", true, ""},
		{"azurekms:vault=factory-vault;name=issuing;environment=china?version=" + vouch, false, ""},

		{"tpmkms:", true, "is written tpmkms:attribute=value"},
		{"tpmkms:/issuing", true, "is written tpmkms:attribute=value"},
		{"tpmkms://issuing", true, "is written tpmkms:attribute=value"},
		{"tpmkms:name=a#b", true, "is written tpmkms:attribute=value"},
		{"tpmkms:issuing", true, `"issuing" is no attribute`},
		{"tpmkms:name=", true, "name is empty"},
		{"tpmkms:name=a;name=b", true, "name is given twice"},
		{"tpmkms:name=a?name=b", true, "name is given twice"},
		{"tpmkms:name=../a", true, "names no key"},
		{"tpmkms:name=a/b", true, "names no key"},
		{"tpmkms:name=.a", true, "names no key"},
		{"tpmkms:name=a%00", true, "names no key"},
		{"tpmkms:name=" + strings.Repeat("a", 65), true, "names no key"},
		{"tpmkms:name=a;device=tpm0", true, "keys.tpm.device"},
		{"tpmkms:name=a;device=/tmp/anybody.sock", true, "keys.tpm.device"},
		{"tpmkms:name=a;device=/dev/tpmrm0", false, "keys.tpm.device"},
		{"tpmkms:name=a;storage-directory=/tmp", true, "storage-directory"},
		{"tpmkms:name=a;storage-directory=../x", true, "leaves the state directory"},
		{"tpmkms:name=a;ak=true", true, `"ak" is no attribute`},
		{"tpmkms:name=a;path=/x", false, `"path" is no attribute`},
		{"tpmkms:name=a;attestation-ca-url=https://x", true, "is no attribute"},
		{"tpmkms:name=a?pin-value=hunter2", true, "pin-value does not belong into a URI"},
		{"tpmkms:name=a?%zz", true, "cannot be parsed"},

		{"awskms:name=a", false, `"name" is no attribute`},
		{"awskms:key-id=" + arn, true, `"key-id" is no attribute`},
		{"awskms:region=eu-central-1", true, "names no key"},
		{"awskms:key-id=alias/", false, "names no key"},
		{"awskms:key-id=arn:aws:s3:::bucket", false, "names no key"},
		{"awskms:name=aws/x", true, "names no key"},
		{"awskms:name=a b", true, "names no key"},
		{"awskms:name=a;region=evil.example/", true, "no AWS region"},
		{"awskms:name=a;profile=factory", true, "\"profile\" is no attribute"},
		{"awskms:name=a;credentials-file=/x", true, "\"credentials-file\" is no attribute"},
		{"awskms:name=a;secret-key=hunter2", true, "secret-key does not belong into a URI"},
		{"awskms:name=a;Access-Key=hunter2", true, "access-key does not belong into a URI"},
		{"awskms:name=a;endpoint=http://x", true, `"endpoint" is no attribute`},

		{"azurekms:vault=factory-vault;name=issuing", false, "names no version"},
		{"azurekms:vault=factory-vault;name=issuing?version=latest", false, "names no version"},
		{"azurekms:vault=evil.example/;name=issuing", true, "names no key"},
		{"azurekms:vault=evil.example;name=issuing", true, "names no key"},
		{"azurekms:name=issuing", true, "names no key"},
		{"azurekms:vault=factory-vault", true, "names no key"},
		{"azurekms:vault=factory-vault;name=a.b", true, "names no key"},
		{"azurekms:vault=factory-vault;name=a;environment=mars", true, "unknown environment"},
		{"azurekms:vault=factory-vault;name=a;tenant-id=a/b", true, "no tenant-id"},
		{"azurekms:vault=factory-vault;name=a;hsm=yes", true, "true or false"},
		{"azurekms:vault=factory-vault;name=a;client-id=x;tenant-id=y;client-secret=hunter2", true, ""},
		{"azurekms:vault=factory-vault;name=a;client-secret=hunter2", true, "client-secret does not belong into a URI"},
		{"azurekms:vault=factory-vault;name=a;aad-endpoint=https://x", true, `"aad-endpoint" is no attribute`},

		{"yubikey:slot-id=9c?pin-source=/x", false, "a server uses a YubiKey as a token"},
	} {
		u, err := parseURI(tt.uri)
		if err == nil {
			_, err = s.external(u, tt.creating)
		}
		if strings.Contains(tt.uri, "client-id") {
			// Two are wrong: whichever is named, the secret is not repeated.
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v", tt.uri, err)
			}
			continue
		}
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) || err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", tt.uri, err, tt.want)
		}
	}
	u, err := parseURI("tpmkms:name=a")
	if err != nil {
		t.Fatal(err)
	}
	if e, err := open(t, Config{Dir: "/var/lib/mintmark"}).external(u, true); err != nil || e.(*tpmKey).path != tpmDevice {
		t.Errorf("without a device: %+v, %v", e, err)
	}
	if e, err := s.external(u, true); err != nil || e.(*tpmKey).path != "/dev/tpmrm1" {
		t.Errorf("with the configured device: %+v, %v", e, err)
	}
	u, err = parseURI("tpmkms:name=a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, Config{}).external(u, true); err == nil || !strings.Contains(err.Error(), "no key directory") {
		t.Errorf("a store without a directory: %v", err)
	}
}

func TestCheckURI(t *testing.T) {
	for uri, want := range map[string]string{
		"softkms:path=keys/issuing.pem":                  "",
		"softkms:keys/issuing.pem":                       "",
		"softkms:path=keys/pin-value.pem":                "",
		"SoftKMS:/srv/keys/issuing.pem":                  "",
		"pkcs11:token=a;object=b;id=%a1%02;type=private": "",
		"pkcs11:token=a%3Db;object=b":                    "",
		"pkcs11:token=a?pin-source=/etc/pin":             "",
		"tpmkms:name=a;storage-directory=tpm":            "",
		"awskms:name=factory/issuing;region=x":           "",
		"azurekms:vault=a;name=b?hsm=false":              "",
		"cloudkms:projects/p/cryptoKeys/k?hsm=false":     "",
		"yubikey:slot-id=9c?pin-source=/x":               "",

		"pkcs11:token=a?pin-value=1234":                  "another secret",
		"pkcs11:token=a;PIN%2dvalue=1234":                "another secret",
		"pkcs11:token=a?pin-value%3D1234":                "another secret",
		"pkcs11:token=a,pin-value=1234":                  "another secret",
		"pkcs11:token=a%3Bpin-value=1234":                "another secret",
		"softkms:path=x;pin=1234":                        "another secret",
		"softkms:keys/x.pem;passphrase=1234":             "another secret",
		"azurekms:vault=a;name=b;client-secret=1234":     "another secret",
		"azurekms:vault=a;name=b;client_secret=1234":     "another secret",
		"azurekms:vault=%zz;name=b?x=1?client-secret=12": "cannot be parsed",
		"awskms:name=a;secret-access-key=1234":           "another secret",
		"yubikey:slot-id=9c;management-key=00#":          "another secret",
		"yubikey:slot-id=9c;management-key=1234":         "another secret",
		"pkcs11:token=a;manufacturer=1234":               `"manufacturer" is no attribute`,
		"softkms:path=x;mode=1234":                       `"mode" is no attribute`,
		"tpmkms:name=a;credentials-file=/x":              `"credentials-file" is no attribute`,
		"awskms:name=a;credentials-file=/x":              `"credentials-file" is no attribute`,
		"pkcs11:1234":                                    "without a name",
		"pkcs11:token=a?1234":                            "without a name",
		"pkcs11://user:1234@host/":                       "names a host",
		"softkms:a;1234":                                 "without a name",
		"softkms://user:1234@host/x":                     "names a host",
		"gpgkms:1234=a":                                  "unknown scheme",
		"1234":                                           "a key is named by a URI",
		"":                                               "a key is named by a URI",
	} {
		err := CheckURI(uri)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "1234")) {
			t.Errorf("%s: %v, want %q", uri, err, want)
		}
	}
}

// A URI that is taken leads nowhere else than it says, and is the same when written
// again.
func FuzzKMSURI(f *testing.F) {
	for _, s := range []string{
		"tpmkms:name=issuing;device=/dev/tpmrm0;storage-directory=tpm", "awskms:name=a;region=eu-central-1", "awskms:key-id=" + arn,
		"azurekms:vault=factory-vault;name=issuing?version=" + vouch, "azurekms:vault=a.b/;name=x", "tpmkms:name=a?pin-value=1",
		"cloudkms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", "cloudkms:resource=projects/p;credentials-file=/x",
		"tpmkms:name=%2e%2e", "yubikey:slot-id=9c?pin-source=/x", "tpmkms:a;name=b", "tpmkms:name=a;;;b=%zz", "awskms:x+y=1", "TPMKMS:name=a#b",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	s, err := Open(Config{Dir: "/state", AnyModule: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string, creating bool) {
		u, err := parseURI(raw)
		if err != nil || !u.isKMS() {
			return
		}
		first := ""
		if u.scheme == schemeGoogle {
			first = "resource"
		}
		known := []string{"name", "device", "storage-directory", "key-id", "region", "profile", "credentials-file", "vault", "environment", "tenant-id", "version", "hsm", "resource", "slot-id", "serial", "pin-source", "management-key-source"}
		if a, err := u.attributes(first, known...); err == nil && len(a) > 0 {
			again, err := parseURI(kmsURI(u.scheme, a, nil))
			if err != nil {
				t.Fatalf("%q cannot be written: %v", raw, err)
			}
			b, err := again.attributes("", known...)
			if err != nil || len(a) != len(b) {
				t.Fatalf("%q: %v became %v, %v", raw, a, b, err)
			}
			for name, v := range a {
				if b[name] != v {
					t.Errorf("%q: %s is %q, and written again %q", raw, name, v, b[name])
				}
			}
		}
		u, err = parseURI(raw)
		if err != nil {
			t.Fatal(err)
		}
		e, err := s.external(u, creating)
		if err != nil {
			return
		}
		switch k := e.(type) {
		case *tpmKey:
			if strings.ContainsAny(k.name, "/\x00") || strings.HasPrefix(k.name, ".") || !strings.HasPrefix(k.directory, "/") {
				t.Errorf("%q is the file %q", raw, k.file())
			}
		case *azureKey:
			if strings.Trim(k.vault, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
				t.Errorf("%q leads to the host %q", raw, k.vault)
			}
		}
	})
}
