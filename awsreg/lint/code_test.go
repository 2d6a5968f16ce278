package lint

import (
	"slices"
	"strings"
	"testing"
)

// snippet checks code and says which rules are found.
func snippet(t *testing.T, name, code string) []string {
	t.Helper()
	var rules []string
	for _, f := range check(t, []File{{Name: name, Data: []byte(code)}}, Options{}) {
		if !slices.Contains(rules, f.Rule) {
			rules = append(rules, f.Rule)
		}
	}
	slices.Sort(rules)
	return rules
}

// TestCode: the rules about programs in both languages and in several spellings:
// what is wrong is found, and what is right is not.
func TestCode(t *testing.T) {
	const jsHook = `
const { IoTClient, DescribeThingCommand, UpdateCertificateCommand } = require("@aws-sdk/client-iot");
const client = new IoTClient({});
`
	for name, c := range map[string]struct{ file, code, want string }{
		"JavaScript: decision of the module": {"h.js", jsHook + `
let allowed = false;
exports.handler = async (event) => {
  const thing = await client.send(new DescribeThingCommand({ thingName: event.parameters.SerialNumber }));
  if (thing.version === 1) allowed = true;
  return { allowProvisioning: allowed };
};`, "hook-sticky"},
		"JavaScript: decision of the call": {"h.js", jsHook + `
exports.handler = async (event) => {
  let allowed = false;
  const thing = await client.send(new DescribeThingCommand({ thingName: event.parameters.SerialNumber }));
  if (thing.version === 1) { allowed = true }
  return { allowProvisioning: allowed };
};`, ""},
		"JavaScript: object of the module": {"h.mjs", `
const answer = { allowProvisioning: false };
export const handler = async (event, context) => {
  const found = await fetch("https://ca.example/" + event.parameters.SerialNumber)
  if (found.ok) {
    answer.allowProvisioning = true
  }
  return answer
}`, "hook-sticky"},
		"Python: flag of the module by global": {"h.py", `
allow = False

def handler(event, context):
    global allow
    if table.get_item(Key={"s": event["parameters"]["SerialNumber"]}).get("Item"):
        allow = True
    return {"allowProvisioning": allow}
`, "hook-sticky"},
		"Python: flag of the module, set back first": {"h.py", `
allow = False

def handler(event, context):
    global allow
    allow = False
    if table.get_item(Key={"s": event["parameters"]["SerialNumber"]}).get("Item"):
        allow = True
    return {"allowProvisioning": allow}
`, ""},
		"Python: a name that only looks like the module's": {"h.py", `
allow = False

def handler(event, context):
    allow = bool(table.get_item(Key={"s": event["parameters"]["SerialNumber"]}).get("Item"))
    if not allow:
        allow = True and False
    return {"allowProvisioning": allow}
`, ""},
		"Python: a refusal as a constant": {"h.py", `
REFUSE = {"allowProvisioning": False}

def handler(event, context):
    item = table.get_item(Key={"s": event["parameters"]["SerialNumber"]}).get("Item")
    if not item:
        return REFUSE
    return {"allowProvisioning": True}
`, ""},
		"JavaScript: date of the module": {"h.js", `
const today = new Date();
exports.handler = async (event, context) => { console.log(today.toISOString()); };`, "module-date"},
		"JavaScript: date of the call": {"h.js", `
exports.handler = async (event, context) => { const today = new Date(); console.log(today.toISOString()); };`, ""},
		"Python: a script may read the clock once": {"s.py", `
from datetime import date
TODAY = date.today()

def report():
    print(TODAY)

report()
`, ""},
		"JavaScript: first page only": {"m.js", `
async function due(client) {
  const page = await client.send(new SearchIndexCommand({ queryString: "attributes.a<1", maxResults: 250 }));
  const more = await iot.listThings({ maxResults: 250 });
  return page.things;
}`, "pagination"},
		"JavaScript v2: first page only": {"m.js", `
async function due() {
  const page = await iot.searchIndex({ queryString: "attributes.a<1", maxResults: 250 }).promise();
  return page.things;
}`, "pagination"},
		"JavaScript: all pages": {"m.js", `
async function due(client) {
  let nextToken;
  do {
    const page = await client.searchIndex({ queryString: "attributes.a<1", nextToken });
    for (const thing of page.things) { tell(thing); }
    nextToken = page.nextToken;
  } while (nextToken);
}`, ""},
		"Python: a paginator": {"m.py", `
def due(iot):
    for page in iot.get_paginator("list_things").paginate():
        yield from page["things"]
`, ""},
		"Python: one page, and the next by itself": {"m.py", `
def due(token=None):
    page = iot.search_index(queryString="x", nextToken=token)
    yield from page["things"]
    if page.get("nextToken"):
        yield from due(page["nextToken"])
`, ""},
		"Python: a token that is read and not used in a loop": {"m.py", `
def due():
    page = iot.list_things(maxResults=250)
    print(page.get("nextToken"))
    return page["things"]
`, "pagination"},
		"JavaScript: grace inverted": {"m.js", `
async function sweep(things, graceDate) {
  for (const thing of things) {
    if (thing.attributes.cert_issuance >= graceDate) {
      await client.send(new UpdateCertificateCommand({ certificateId: thing.id, newStatus: "INACTIVE" }));
    }
  }
}`, "grace-inverted"},
		"Python: grace inverted by age": {"m.py", `
def sweep(things):
    for thing in things:
        if age_days(thing) < 374:
            iot.update_certificate(certificateId=thing["id"], newStatus="REVOKED")
`, "grace-inverted"},
		"Python: grace inverted by else": {"m.py", `
def sweep(things, limit):
    for thing in things:
        if thing["issued"] < limit:
            tell(thing)
        else:
            iot.update_certificate(certificateId=thing["id"], newStatus="INACTIVE")
`, "grace-inverted"},
		"Python: grace inverted with today": {"m.py", `
def sweep(things, today):
    for thing in things:
        if today < issued(thing) + period + grace:
            iot.update_certificate(certificateId=thing["id"], newStatus="INACTIVE")
`, "grace-inverted"},
		"Python: grace the right way round": {"m.py", `
def sweep(things, limit, today):
    for thing in things:
        if thing["issued"] < limit:
            iot.update_certificate(certificateId=thing["id"], newStatus="INACTIVE")
        elif age_days(thing) > 374 or today > issued(thing) + grace:
            iot.update_certificate(certificateId=thing["id"], newStatus="INACTIVE")
        else:
            tell(thing)
`, ""},
		"JavaScript: rotation that trusts": {"h.js", jsHook + `
// rotation
exports.handler = async ({ parameters }) => {
  const thing = await client.send(new DescribeThingCommand({ thingName: parameters.DeviceSerial }));
  return { allowProvisioning: thing.attributes.due === "yes" };
};`, "rotation-trust"},
		"JavaScript: rotation that compares": {"h.js", jsHook + `
// rotation
exports.handler = async (event) => {
  const own = await thingsOf(event.claimCertificateId);
  const name = event.parameters.DeviceSerial;
  return { allowProvisioning: own.includes(name) };
};`, ""},
		"Python: rotation that only logs who asks": {"h.py", `
def handler(event, context):
    """Rotation."""
    print("rotation by", event["claimCertificateId"])
    thing = iot.describe_thing(thingName=event["parameters"]["Serial"])
    return {"allowProvisioning": thing["due"]}
`, "rotation-trust"},
		"JavaScript: keys from the cloud": {"c.mjs", `await client.send(new CreateKeysAndCertificateCommand({ setAsActive: true }));`, "cloud-key"},
		"shell in Python":                 {"c.py", `subprocess.run(["aws", "iot", "create-keys-and-certificate"])` + "\n", "cloud-key"},
		"what a comment says is no call":  {"c.py", "# not create_keys_and_certificate()\nx = 1\n", ""},
		"hook that deactivates":           {"h.py", "def handler(event, context):\n    if event['claimCertificateId'] in known():\n        iot.update_certificate(certificateId=old(), newStatus='INACTIVE')\n    return {'allowProvisioning': True}\n", "early-deactivation"},
		"hook that activates":             {"h.py", "def handler(event, context):\n    if event['claimCertificateId'] in known():\n        iot.update_certificate(certificateId=old(), newStatus='ACTIVE')\n    return {'allowProvisioning': True}\n", ""},
	} {
		if have := strings.Join(snippet(t, c.file, c.code), " "); have != c.want {
			t.Errorf("%s: found %q, want %q", name, have, c.want)
		}
	}
}

// TestParameterNames: a hook's parameters in all spellings.
func TestParameterNames(t *testing.T) {
	for code, want := range map[string]string{
		`x = event["parameters"]["A"]`:                     "A",
		`x = event.get("parameters", {}).get("A", "")`:     "A",
		"p = event['parameters']\nx = p['A'] + p.get('B')": "A B",
		"def f(parameters):\n    return parameters['A']":   "A",
		"x = other['A']": "",
	} {
		u, err := read(File{Name: "h.py", Data: []byte(code + "\n")})
		if err != nil {
			t.Fatal(err)
		}
		if have := sortedNames(u.parameterNames()); have != want {
			t.Errorf("%s: %q, want %q", code, have, want)
		}
	}
	for code, want := range map[string]string{
		`const x = event.parameters.A;`:                      "A",
		`const { A, B: b } = event.parameters;`:              "A B",
		"const p = event.parameters || {}\nuse(p.A, p['B'])": "A B",
		`const x = event.parameters?.A ?? "";`:               "A",
	} {
		u, err := read(File{Name: "h.js", Data: []byte(code + "\n")})
		if err != nil {
			t.Fatal(err)
		}
		if have := sortedNames(u.parameterNames()); have != want {
			t.Errorf("%s: %q, want %q", code, have, want)
		}
	}
}

func sortedNames(names map[string]int) string {
	var list []string
	for name := range names {
		list = append(list, name)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// TestActions: the lists have what policies use, in no spelling twice.
func TestActions(t *testing.T) {
	for _, name := range []string{"registercacertificate", "retainpublish", "createcertificateprovider", "updatethingshadow", "searchindex"} {
		if !controlActions[name] {
			t.Errorf("iot:%s is not there", name)
		}
	}
	for name := range deviceActions {
		if !controlActions[name] {
			t.Errorf("iot:%s is a device's action and none of the service", name)
		}
	}
	if controlActions["publishretain"] {
		t.Error("iot:PublishRetain does not exist")
	}
}
