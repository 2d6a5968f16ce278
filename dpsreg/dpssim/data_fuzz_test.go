package dpssim

import (
	"bufio"
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// fuzzRecord checks that an enrollment that was read is written as one that is read the
// same.
func fuzzRecord(t *testing.T, k kind, data []byte) {
	r, err := parseRecord(k, data)
	if err != nil {
		if r != nil {
			t.Error("a refused enrollment is returned")
		}
		return
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	again, err := parseRecord(k, text)
	if err != nil {
		t.Fatalf("%s is refused: %v", text, err)
	}
	if twice, err := json.Marshal(again); err != nil || !bytes.Equal(text, twice) {
		t.Errorf("%s, then %s (%v)", text, twice, err)
	}
	// What comes out of the slots is that, whatever it is, and never more than was checked.
	e := &enrollment{record: *r}
	if err := e.fill(k, r.Attestation.X509, nil); err == nil && r.Attestation.Type == attestX509 && r.Attestation.X509.References == nil && e.primary == nil {
		t.Error("an enrollment has no primary certificate")
	}
}

func FuzzGroup(f *testing.F) {
	ca := newParty(f, "Line 1 CA", true, nil)
	f.Add([]byte(x509Group("line-a", ca.pem()).String()))
	f.Add([]byte(`{"enrollmentGroupId":"a","attestation":{"type":"x509","x509":{"caReferences":{"primary":"r"}}},"iotHubHostName":"h","allocationPolicy":"static"}`))
	f.Add([]byte(`{"enrollmentGroupId":"a","attestation":{"type":"symmetricKey"}}`))
	f.Fuzz(func(t *testing.T, data []byte) { fuzzRecord(t, kindGroup, data) })
}

func FuzzIndividual(f *testing.F) {
	f.Add([]byte(x509Individual("press-1", newParty(f, "press-1", false, nil).pem()).with(object{"deviceId": "a", "optionalDeviceInformation": object{"mintmark": "pinned"}}).String()))
	f.Add([]byte(`{"registrationId":"a","attestation":{"type":"tpm","tpm":{"endorsementKey":"x"}},"initialTwin":{"tags":{"a":1},"properties":{"desired":{}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) { fuzzRecord(t, kindIndividual, data) })
}

func FuzzBulk(f *testing.F) {
	f.Add([]byte(`{"mode":"create","enrollments":[{"registrationId":"a"}]}`))
	f.Add([]byte(`{"mode":"updateIfMatchEtag","enrollments":[{},{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		mode, list, err := parseBulk(kindIndividual, data)
		if (err == nil) != (mode != "" && len(list) > 0 && len(list) <= 10) {
			t.Errorf("mode %q, %d enrollments, %v", mode, len(list), err)
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add([]byte(`{"query":"SELECT * FROM enrollments"}`))
	f.Add([]byte(`{"query":"select *"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		from, err := parseQuery(data)
		if err == nil && strings.Trim(from, "abcdefghijklmnopqrstuvwxyz") != "" || err != nil && from != "" {
			t.Errorf("%q, %v", from, err)
		}
	})
}

func FuzzDataPath(f *testing.F) {
	for _, seed := range []string{"GET /enrollmentGroups/a", "POST /enrollments/query", "POST /registrations/a%2Fb/query", "PUT /enrollments/a", "DELETE /registrations/a", "POST /enrollments/a/attestationmechanism"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		method, path, _ := strings.Cut(line, " ")
		c, err := routeData(method, path)
		if (err == nil) != (c != nil) || c != nil && (c.op == "" || c.run == nil) {
			t.Errorf("%+v, %v", c, err)
		}
		op, operation, d, err := routeDevice(method, path)
		if err == nil && (d.scope == "" || d.registrationID == "" || (op == opOperation) != (operation != "")) {
			t.Errorf("%s %q %+v", op, operation, d)
		}
	})
}

func FuzzDeviceRequest(f *testing.F) {
	f.Add([]byte(`{"registrationId":"press-1","payload":{"model":"press"}}`))
	f.Add([]byte(`{"csr":"a"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseDeviceRequest(data)
		if (err == nil) != (r != nil) {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func FuzzCertificate(f *testing.F) {
	ca := newParty(f, "Line 1 CA", true, nil)
	f.Add(ca.pem())
	f.Add("MIIB")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseCertificate(text)
		if (err == nil) != (c != nil) {
			t.Fatalf("%v, %v", c, err)
		}
		if c == nil {
			return
		}
		infoOf(c)
		if again, err := parseCertificate(pemText(c)); err != nil || !again.Equal(c) {
			t.Errorf("what was read is not read again: %v", err)
		}
	})
}

func FuzzTopic(f *testing.F) {
	f.Add(registerTopic + "?$rid=1")
	f.Add(operationTopic + "?$rid=a-b&operationId=4.1.2")
	f.Fuzz(func(t *testing.T, topic string) {
		r, err := parseTopic(topic)
		if err != nil {
			if r != (mqttRequest{}) {
				t.Errorf("a refused topic is %+v", r)
			}
			return
		}
		if r.id == "" || (r.op == opOperation) != (r.operation != "") {
			t.Errorf("%+v", r)
		}
		if strings.ContainsAny(r.topic(202, "3")[len(answerTopic):], "+#\x00") {
			t.Errorf("the topic of the answer is %q", r.topic(202, "3"))
		}
	})
}

func FuzzUsername(f *testing.F) {
	f.Add("0ne00000000/registrations/press-1/api-version=2019-03-31")
	f.Add("0ne00000000/registrations/press-1/api-version=2021-06-01&ClientVersion=a%2Fb")
	f.Fuzz(func(t *testing.T, name string) {
		c, err := parseUsername(name)
		if err != nil {
			if !reflect.DeepEqual(c, deviceCall{}) {
				t.Errorf("a refused user name is %+v", c)
			}
			return
		}
		if !strings.HasPrefix(name, c.scope+"/registrations/"+c.registrationID+"/api-version="+c.apiVersion) {
			t.Errorf("%q is %+v", name, c)
		}
	})
}

// FuzzPacket reads packets as a connection does, and decodes those that devices send.
func FuzzPacket(f *testing.F) {
	f.Add(connectPacket(4, 2, "press-1", "0ne00000000/registrations/press-1/api-version=2019-03-31"))
	f.Add(packet(0x82, []byte{0, 1}, text(answerFilter), []byte{1}))
	f.Add(packet(0x32, text(registerTopic+"?$rid=1"), []byte{0, 1}, []byte("{}")))
	f.Add([]byte{0xc0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bufio.NewReader(bytes.NewReader(data))
		for {
			p, body, err := readPacket(r)
			if err != nil {
				return
			}
			if len(body) > maxPacket || len(body) > len(data) {
				t.Fatalf("a packet of %d bytes", len(body))
			}
			p.ConnectDecode(body)
			p.SubscribeDecode(body)
			p.UnsubscribeDecode(body)
			p.PublishDecode(body)
		}
	})
}
