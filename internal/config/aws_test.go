package config

import (
	"strings"
	"testing"
	"time"
)

// cloud is a target with one of everything.
const cloud = `
server: line-1
tls: {issuer: issuing, profile: server, names: [localhost]}
profiles:
  provisioned: {preset: aws-jitp, subject: {commonName: {pattern: "[a-z]+"}}}
  server: {preset: server}
  device: {preset: device}
labels: [{name: line, profile: device, issuer: issuing, authorize: inventory, one_time: true}]
aws:
  reconcile: 12h
  adopt_revocations: true
  targets:
    - name: a
      account_id: "123456789012"
      region: eu-central-1
      role_arn: arn:aws:iam::999999999999:role/path/mintmark
      quota_scale: 2.5
      manifest: {table: devices, max_age: 2d}
      cas:
        - {issuer: jitr, mode: DEFAULT, use: jitr}
        - {issuer: jitp, mode: SNI_ONLY, use: jitp, jitp: {profile: provisioned, role_arn: "arn:aws:iam::123456789012:role/x", policy: p}}
        - {issuer: told, mode: NONE, use: register, register: {policy: told-policy, thing_type: pump, groups: [hall-1]}}
        - {issuer: old, mode: DEFAULT, use: none, state: deleted, sweep: revoke}
      jitr: {function: "arn:aws:lambda:eu-central-1:123456789012:function:f", policy: p, rule: mintmark_jitr}
      fleets:
        - template: pumps
          role_arn: arn:aws:iam::123456789012:role/provisioning
          hook: arn:aws:lambda:eu-central-1:123456789012:function:hook:live
          policy: pump-device
          claim_policy: pump-claim
          thing_prefix: pump-
          thing_type: press
          groups: [hall-2, line-4]
          attributes: {site: "augsburg", model: "P:3"}
          rotation_hook: arn:aws:lambda:eu-central-1:123456789012:function:rotate
      rotation:
        table: rotating
        period: 300d
        grace: 10d
        topic: cmd/<thing>/alerts
        presence: arn:aws:lambda:eu-central-1:123456789012:function:presence
        rule: mintmark_presence
      certificate_provider:
        name: ours
        function: arn:aws:lambda:eu-central-1:123456789012:function:provider
        url: https://ca.example.org:8443
        label: cloud
        secret: mintmark/ra
      connect_callback:
        domain: devices
        function: arn:aws:lambda:eu-central-1:123456789012:function:connect
        crls: ["http://ca.example:8080/crl/issuing.crl"]
        ocsp: http://ocsp.example
      ingest: {bucket: messages.example, rule: pumps, topic: pumps}
`

func TestParseAWS(t *testing.T) {
	c, err := Parse([]byte(cloud))
	if err != nil {
		t.Fatal(err)
	}
	target := c.AWS.Targets[0]
	switch {
	case c.AWS.Reconcile != 12*time.Hour || !c.AWS.Adopt:
		t.Errorf("reconciliation: %+v", c.AWS)
	case len(target.Fleets) != 1 || target.Fleets[0].Attributes["model"] != "P:3" || target.Rotation.Grace != 240*time.Hour:
		t.Errorf("fleets: %+v", target)
	case target.CAs[3].Sweep != "revoke" || target.CAs[2].Register.ThingType != "pump" || target.QuotaScale != 2.5:
		t.Errorf("CAs: %+v", target)
	}
	c, err = Parse([]byte(good))
	if err != nil || c.AWS.Reconcile != 24*time.Hour || c.AWS.Adopt {
		t.Errorf("reconciliation is left out: %+v, %v", c.AWS, err)
	}
}

// TestRefusedAWS: each mistake is refused with the key, the value and what to do.
func TestRefusedAWS(t *testing.T) {
	const lambda = "arn:aws:lambda:eu-central-1:123456789012:function:"
	for _, test := range []struct{ name, old, new, want string }{
		{"reconciled all the time", "reconcile: 12h", "reconcile: 1s", "aws.reconcile: 1s"},
		{"reconciled never in a year", "reconcile: 12h", "reconcile: 400d", "aws.reconcile: 400d"},
		{"adopted but not reconciled", "reconcile: 12h", "reconcile: 0s", "aws.adopt_revocations"},
		{"two of a name", "    - name: a\n", "    - {name: a, account_id: \"123456789012\", region: eu-west-1}\n    - name: a\n", `name: "a" is defined twice`},
		{"role to assume", "role_arn: arn:aws:iam::999999999999:role/path/mintmark", "role_arn: mintmark", `targets[0].role_arn: "mintmark"`},
		{"quota scale", "quota_scale: 2.5", "quota_scale: -1", "quota_scale: -1"},
		{"table name", "{table: devices,", `{table: "a b",`, `manifest.table: "a b"`},
		{"manifest that is always old", "max_age: 2d", "max_age: 30s", "manifest.max_age: 30s"},
		{"manifest that is never old", "max_age: 2d", "max_age: 9999d", "manifest.max_age: 9999d"},
		{"unregistered CA without register", "mode: DEFAULT, use: none", "mode: NONE, use: none", "cas[3].mode: NONE"},
		{"unregistered CA with a state", "mode: NONE, use: register", "state: inactive, mode: NONE, use: register", `cas[2].state: "inactive"`},
		{"use", "use: register,", "use: bulk,", `cas[2].use: "bulk"`},
		{"register without its section", ", register: {policy: told-policy, thing_type: pump, groups: [hall-1]}", "", "cas[2].register"},
		{"section without register", "use: none,", "use: none, register: {policy: x},", "cas[3].register"},
		{"register without a policy", "{policy: told-policy, ", "{", "cas[2].register.policy"},
		{"name of a policy", "policy: told-policy", `policy: "told policy"`, `cas[2].register.policy: "told policy"`},
		{"name of a thing type", "thing_type: pump", `thing_type: "a/b"`, `cas[2].register.thing_type: "a/b"`},
		{"name of a group", "groups: [hall-1]", `groups: ["a b"]`, `cas[2].register.groups[0]: "a b"`},
		{"group twice", "[hall-2, line-4]", "[hall-2, hall-2]", `fleets[0].groups[1]: "hall-2"`},
		{"eleven groups", "[hall-2, line-4]", "[a, b, c, d, e, f, g, h, i, j, k]", "fleets[0].groups: there are 11"},
		{"state", "state: deleted", "state: gone", `cas[3].state: "gone"`},
		{"sweep", "sweep: revoke", "sweep: all", `cas[3].sweep: "all"`},
		{"sweep under an active CA", "state: deleted, ", "", "cas[3].sweep"},
		{"JITP with another account's role", "arn:aws:iam::123456789012:role/x", "arn:aws:iam::999999999999:role/x", "role of account 999999999999"},
		{"rule with a dash", "rule: mintmark_jitr", "rule: mintmark-jitr", `jitr.rule: "mintmark-jitr"`},
		{"activator elsewhere", lambda + "f\"", "arn:aws:lambda:us-east-1:123456789012:function:f\"", "in us-east-1"},
		{"fleet without a template", "- template: pumps", "- template: \"\"", "fleets[0].template: must be set"},
		{"name of a template", "template: pumps", `template: "pumps/1"`, `fleets[0].template: "pumps/1"`},
		{"template twice", "          rotation_hook:", "          rotation_template: pumps\n          rotation_hook:", "fleets[0].template, too"},
		{"name of the rotation template", "template: pumps", "template: pumps-of-a-very-long-name-of-theirs", "rotation_template: must be set"},
		{"fleet without a role", "          role_arn: arn:aws:iam::123456789012:role/provisioning\n", "", "fleets[0].role_arn: must be set"},
		{"role that is a user", "role/provisioning", "user/provisioning", "fleets[0].role_arn"},
		{"fleet without a hook", "          hook: " + lambda + "hook:live\n", "", "fleets[0].hook: must be set"},
		{"hook of another account", "eu-central-1:123456789012:function:hook", "eu-central-1:999999999999:function:hook", "account 999999999999"},
		{"hook by its name", lambda + "hook:live", "hook", `fleets[0].hook: "hook"`},
		{"one policy for both", "claim_policy: pump-claim", "claim_policy: pump-device", "fleets[0].claim_policy"},
		{"name of the device policy", "policy: pump-device", `policy: "pump/device"`, `fleets[0].policy: "pump/device"`},
		{"thing prefix", "thing_prefix: pump-", "thing_prefix: pump/", `fleets[0].thing_prefix: "pump/"`},
		{"our attribute", "{site: ", "{serial_number: ", "attributes.serial_number"},
		{"name of an attribute", "{site: ", "{\"the site\": ", `attributes: "the site"`},
		{"value of an attribute", `"augsburg"`, `"augsburg, hall 2"`, `attributes.site: "augsburg, hall 2"`},
		{"attributes without a type", "          thing_type: press\n", "", "fleets[0].attributes: there are 2, and 1 are possible"},
		{"rotation without its hook", "          rotation_hook: " + lambda + "rotate\n", "", "fleets[0].rotation_hook: must be set"},
		{"rotation of nothing", "      rotation:\n", "      rotation: null\n      x-rotation:\n", "x-rotation"},
		{"one table for both", "table: rotating", "table: devices", `rotation.table: "devices"`},
		{"name of the rotation table", "table: rotating", "table: x", `rotation.table: "x"`},
		{"negative period", "period: 300d", "period: -1h", "rotation.period: -1h"},
		{"no grace at all", "grace: 10d", "grace: 1ns", "rotation.grace"},
		{"topic of everybody", "cmd/<thing>/alerts", "cmd/alerts", "lacks <thing>"},
		{"topic filter", "cmd/<thing>/alerts", "cmd/<thing>/#", `rotation.topic: "cmd/<thing>/#"`},
		{"reserved topic", "cmd/<thing>/alerts", "$aws/things/<thing>", "rotation.topic"},
		{"presence", "        presence: " + lambda + "presence\n", "", "rotation.presence: must be set"},
		{"presence rule", "rule: mintmark_presence", "rule: a b", `rotation.rule: "a b"`},
		{"name of the provider", "name: ours", `name: "a b"`, `certificate_provider.name: "a b"`},
		{"provider without a function", "        function: " + lambda + "provider\n", "", "certificate_provider.function: must be set"},
		{"provider over plain http", "https://ca.example.org:8443", "http://ca.example.org", "certificate_provider.url"},
		{"password in the provider's URL", "https://ca.example.org:8443", "https://u:hunter2@ca.example.org", "certificate_provider.url"},
		{"provider's label", "label: cloud", "label: Cloud/1", "certificate_provider.label"},
		{"provider's label that trusts", "{name: line, profile: device, issuer: issuing, authorize: inventory", "{name: cloud, profile: device, issuer: issuing, authorize: trusted", "certificate_provider.label: label \"cloud\" authorizes whatever"},
		{"provider's label under a CA of JITR", "{name: line, profile: device, issuer: issuing,", "{name: cloud, profile: device, issuer: jitr,", "come into service in target \"a\" by jitr"},
		{"provider's label under a CA of JITP", "{name: line, profile: device, issuer: issuing,", "{name: cloud, profile: device, issuer: jitp,", "by jitp"},
		{"provider's label under a CA whose certificates are registered", "{name: line, profile: device, issuer: issuing,", "{name: cloud, profile: device, issuer: told,", "by register"},
		{"a secret itself", "secret: mintmark/ra", `secret: "-----BEGIN PRIVATE KEY-----"`, "never the secret itself"},
		{"provider that cannot sign", "        secret: mintmark/ra\n", "", "belong together"},
		{"callback's domain", "domain: devices", "domain: a/b", `connect_callback.domain: "a/b"`},
		{"ingest without a bucket", "bucket: messages.example, ", "", "ingest.bucket"},
		{"bucket", "messages.example", "Messages", "ingest.bucket"},
		{"ingest rule", "rule: pumps", "rule: pumps-1", "ingest.rule"},
		{"ingest topic", "topic: pumps", "topic: pumps/#", "ingest.topic"},
		{"callback without a function", "        function: " + lambda + "connect\n", "", "connect_callback.function"},
		{"callback that asks nobody", "        crls: [\"http://ca.example:8080/crl/issuing.crl\"]\n        ocsp: http://ocsp.example\n", "", "crls or ocsp"},
		{"CRL in a file", "http://ca.example:8080/crl/issuing.crl", "file:///crl", `connect_callback.crls[0]: "file:///crl"`},
		{"OCSP", "http://ocsp.example", "ocsp.example", `connect_callback.ocsp: "ocsp.example"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if strings.Count(cloud, test.old) != 1 {
				t.Fatalf("the configuration has %q not once", test.old)
			}
			_, err := Parse([]byte(strings.Replace(cloud, test.old, test.new, 1)))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("the text does not hold %q: %v", test.want, err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the text holds a password: %v", err)
			}
		})
	}
	for _, test := range []struct{ name, old, new, want string }{
		{"callback in GovCloud", "eu-central-1", "us-gov-west-1", "GovCloud"},
	} {
		if _, err := Parse([]byte(strings.ReplaceAll(cloud, test.old, test.new))); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	apart := strings.Replace(cloud, "{name: line, profile: device, issuer: issuing,", "{name: cloud, profile: device, issuer: old,", 1)
	if _, err := Parse([]byte(apart)); err != nil {
		t.Errorf("a label under a CA of use none: %v", err)
	}
	without := strings.Replace(cloud, cloud[strings.Index(cloud, "      rotation:\n"):strings.Index(cloud, "      certificate_provider:")], "", 1)
	if _, err := Parse([]byte(without)); err == nil || !strings.Contains(err.Error(), "has no rotation section") {
		t.Errorf("a rotation hook without rotation: %v", err)
	}
}

// TestMovedAWS: what an earlier version had elsewhere is named with its new place.
func TestMovedAWS(t *testing.T) {
	for _, key := range []string{"table: devices", "max_age: 2d"} {
		_, err := Parse([]byte(strings.Replace(good, "policy: p}\n      manifest", "policy: p, "+key+"}\n      manifest", 1)))
		if name, _, _ := strings.Cut(key, ":"); err == nil || !strings.Contains(err.Error(), "aws.targets[0].manifest."+name) {
			t.Errorf("jitr.%s: %v", key, err)
		}
	}
}
