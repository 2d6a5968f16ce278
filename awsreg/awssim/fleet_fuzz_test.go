package awssim

import (
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// FuzzFleetRequest: what parses means the same when it is written and read again, in
// the other format as well.
func FuzzFleetRequest(f *testing.F) {
	f.Add("json", []byte(`{"certificateOwnershipToken":"t","parameters":{"a":"b"}}`))
	f.Add("json", []byte(`{"certificateSigningRequest":"x"}`))
	f.Add("json", []byte(`{"parameters":{"a":1}}`))
	packed, err := cbor.Marshal(registerRequest{"t", map[string]string{"a": "b"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("cbor", packed)
	f.Add("cbor", []byte{0xbf, 0x61, 0x61, 0x5f, 0xff})
	f.Add("cbor", []byte{0xa1, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, format string, payload []byte) {
		if format != "cbor" {
			format = "json"
		}
		var csr fromCSRRequest
		decodeFleet(format, payload, &csr)
		decodeEmpty(format, payload)
		var in registerRequest
		if decodeFleet(format, payload, &in) != nil {
			return
		}
		for _, other := range []string{"json", "cbor"} {
			for _, s := range append([]string{in.Token}, flat(in.Parameters)...) {
				if strings.ToValidUTF8(s, "") != s {
					return // JSON cannot say it
				}
			}
			b, err := encodeFleet(other, in)
			if err != nil {
				t.Fatal(err)
			}
			var again registerRequest
			if err := decodeFleet(other, b, &again); err != nil {
				t.Fatalf("%s of %+v: %v", other, in, err)
			}
			if again.Token != in.Token || len(again.Parameters) != len(in.Parameters) || len(in.Parameters) > 0 && !reflect.DeepEqual(again, in) {
				t.Errorf("%+v became %+v", in, again)
			}
		}
	})
}

func flat(m map[string]string) []string {
	var out []string
	for k, v := range m {
		out = append(out, k, v)
	}
	return out
}

func FuzzFleetTopic(f *testing.F) {
	f.Add("$aws/certificates/create/json")
	f.Add("$aws/provisioning-templates/fleet/provision/cbor")
	f.Add("$aws/provisioning-templates/a/provision/json/accepted")
	f.Fuzz(func(t *testing.T, topic string) {
		r, ok := parseFleetTopic(topic)
		if !ok {
			return
		}
		prefix := map[string]string{
			mqttCreateKeys: createKeysTopic, mqttCreateFromCSR: createFromCSRTopic,
			mqttRegisterThing: provisionTopic + r.template + "/provision/",
		}[r.op]
		if prefix+r.format != topic {
			t.Errorf("%q parsed as %+v", topic, r)
		}
	})
}

// FuzzFunctionAnswers: hook and provider are given to whoever writes functions.
func FuzzFunctionAnswers(f *testing.F) {
	f.Add([]byte(`{"allowProvisioning":true,"parameterOverrides":{"a":"b"}}`))
	f.Add([]byte(`{"allowProvisioning":"true"}`))
	f.Add([]byte(`{"certificatePem":"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, reply []byte) {
		if overrides, err := parseHookAnswer(reply); err == nil {
			if !strings.Contains(string(reply), "true") && !strings.Contains(string(reply), `\u`) {
				t.Errorf("%q allows", reply)
			}
			if checkParameters(overrides) != nil {
				t.Errorf("%q overrides too much", reply)
			}
		} else if overrides != nil {
			t.Error("overrides together with an error")
		}
		if cert, err := parseProviderAnswer(reply); (cert == nil) == (err == nil) {
			t.Errorf("%q: %v, %v", reply, cert, err)
		}
		parseFunctionError(reply)
	})
}
