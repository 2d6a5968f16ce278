package awsreg

import "time"

// Fleet is fleet provisioning by claim: a provisioning template with a
// pre-provisioning hook, and the claim policy for those who may ask.
// https://docs.aws.amazon.com/iot/latest/developerguide/provision-wo-cert.html#claim-based
//
// Work orders are for a fleet when their label is Label of it: their claim
// certificates are then registered with the account, and the hook admits
// devices within the order's list, ranges, window and quantity.
type Fleet struct {
	Template string // name of the provisioning template, 1 to 36 of [0-9A-Za-z_-]
	RoleARN  string // role that AWS IoT assumes to provision
	Hook     string // ARN of the function that decides (handler "provision")
	// Policy is the IoT policy that devices get, ClaimPolicy the one of claim
	// certificates; "<Template>-device" and "<Template>-claim" if empty.
	Policy      string
	ClaimPolicy string
	// PolicyDocument is the devices' policy; FleetPolicy if empty.
	PolicyDocument string
	// ThingPrefix stands before the serial number in the names of things.
	ThingPrefix string
	ThingType   string            // empty for none; made if it is missing
	Groups      []string          // thing groups; made if they are missing
	Attributes  map[string]string // of every thing, beside serial_number and cert_issuance
	// AWSKeys lets claims ask for private keys that AWS makes, for devices that
	// cannot make their own; see ClaimPolicy.
	AWSKeys bool
	// RotationTemplate names the template by which a device gets its next
	// certificate under the one that it has; "<Template>-rotation" if empty.
	// There is one if the target has Rotation, and then RotationHook must be set.
	RotationTemplate string
	RotationHook     string // ARN of the function that decides (handler "rotate")
}

// Rotation finds certificates past their period, tells the devices, and takes
// the old certificate out of service once the new one has connected.
type Rotation struct {
	Table string // DynamoDB table of what rotates; "mintmark-rotation" if empty
	// Period is how old a certificate may be before its device is told to rotate,
	// 360 days if zero; Grace is for how long it is told before it counts as
	// overdue, 14 days if zero. A certificate is never deactivated for its age.
	Period time.Duration
	Grace  time.Duration
	// Topic is where a device is told; <thing> stands for its thing's name.
	// "cmd/<thing>/alerts" if empty.
	Topic string
	// Presence is the ARN of the function that sees connections (handler
	// "presence"), Rule the name of the topic rule that feeds it;
	// "mintmark_presence" if empty.
	Presence string
	Rule     string
}

// Provider is the account's certificate provider: every CreateCertificateFromCsr
// of the account and region, by whomever, is answered by it.
// https://docs.aws.amazon.com/iot/latest/developerguide/provisioning-cert-provider.html
type Provider struct {
	Name     string // 1 to 128 of [\w=,@-]; "mintmark" if empty
	Function string // ARN of the function that has the request signed (handler "certificate-provider")
}

// Register is how mintmark itself registers each device certificate of a CA,
// before the device ever connects.
type Register struct {
	Policy         string // IoT policy that devices get; must be set
	PolicyDocument string // DevicePolicy if empty
	ThingType      string // empty for none; made if it is missing
	Groups         []string
}

// Label is the label of the work orders for a fleet of a target. No EST label
// has a colon in its name, so that such an order is good for nothing else.
func (t Target) Label(f Fleet) string { return "aws:" + t.Name + "/" + f.Template }

// fleetOf finds the fleet that a label of a work order is for.
func (t Target) fleetOf(label string) (Fleet, bool) {
	for _, f := range t.Fleets {
		if t.Label(f) == label {
			return f, true
		}
	}
	return Fleet{}, false
}

func (f Fleet) policy() string           { return or(f.Policy, f.Template+"-device") }
func (f Fleet) claimPolicy() string      { return or(f.ClaimPolicy, f.Template+"-claim") }
func (f Fleet) rotationTemplate() string { return or(f.RotationTemplate, f.Template+"-rotation") }

// thingPlace stands for the thing's name in Rotation.Topic.
const thingPlace = "<thing>"

const (
	defaultRotationTable = "mintmark-rotation"
	defaultPresenceRule  = "mintmark_presence"
	defaultAlertTopic    = "cmd/" + thingPlace + "/alerts"
	defaultPeriod        = 360 * 24 * time.Hour
	defaultGrace         = 14 * 24 * time.Hour
	defaultProvider      = "mintmark"
)

func (r Rotation) table() string { return or(r.Table, defaultRotationTable) }
func (r Rotation) topic() string { return or(r.Topic, defaultAlertTopic) }
func (r Rotation) rule() string  { return or(r.Rule, defaultPresenceRule) }

func (r Rotation) period() time.Duration {
	if r.Period > 0 {
		return r.Period
	}
	return defaultPeriod
}

func (r Rotation) grace() time.Duration {
	if r.Grace > 0 {
		return r.Grace
	}
	return defaultGrace
}

func (p Provider) name() string { return or(p.Name, defaultProvider) }
