package hook

import (
	"reflect"
	"strings"
	"testing"
)

func TestDecodeSigner(t *testing.T) {
	id := strings.Repeat("0a", 32)
	good := Signer{CertificateID: id, Issuer: "line-a"}
	if got, err := DecodeSigner(good.Item()); err != nil || got != good {
		t.Errorf("%+v, %v", got, err)
	}
	for name, item := range map[string]Item{
		"nothing":         {},
		"an entry's key":  {keyName: text(id), "issuer": text("line-a")},
		"no id":           {keyName: text("ca#"), "issuer": text("line-a")},
		"a short id":      {keyName: text("ca#0a"), "issuer": text("line-a")},
		"no issuer":       {keyName: text("ca#" + id)},
		"an empty issuer": {keyName: text("ca#" + id), "issuer": text("")},
		"a long issuer":   {keyName: text("ca#" + id), "issuer": text(strings.Repeat("x", 257))},
	} {
		if got, err := DecodeSigner(item); err == nil || got != (Signer{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzDecodeSigner(f *testing.F) {
	f.Add("ca#"+strings.Repeat("0a", 32), "line-a")
	f.Add("ca#", "")
	f.Fuzz(func(t *testing.T, pk, issuer string) {
		item := Item{keyName: text(pk), "issuer": text(issuer)}
		signer, err := DecodeSigner(item)
		if err != nil {
			if signer != (Signer{}) {
				t.Errorf("an error and a signer: %+v", signer)
			}
			return
		}
		if back := signer.Item(); !reflect.DeepEqual(back, item) {
			t.Errorf("%+v became %+v", item, back)
		}
	})
}
