package config

import "time"

// AWS lists the accounts and regions to keep in step.
type AWS struct {
	// Reconcile is how often the certificates that AWS has are compared with the
	// ledger, both ways; 0 for never.
	Reconcile time.Duration `yaml:"reconcile"`
	// Adopt revokes here what somebody revoked at AWS, up to access.revoke_limit
	// certificates a run; left out, it is reported only.
	Adopt   bool        `yaml:"adopt_revocations"`
	Targets []AWSTarget `yaml:"targets"`
}

// AWSTarget is AWS IoT Core of one account in one region.
type AWSTarget struct {
	Name      string `yaml:"name"`
	AccountID string `yaml:"account_id"`
	Region    string `yaml:"region"`
	// Profile names a profile of the shared AWS configuration; left out, the
	// SDK's default chain is used. Keys never stand in this file.
	Profile string `yaml:"profile"`
	// RoleARN is assumed before any call.
	RoleARN string `yaml:"role_arn"`
	// Endpoint replaces AWS's own addresses: for mintmark sim aws.
	Endpoint string      `yaml:"endpoint"`
	CAs      []AWSCA     `yaml:"cas"`
	Manifest AWSManifest `yaml:"manifest"`
	JITR     *AWSJITR    `yaml:"jitr"`
	// Fleets are provisioned by claim.
	Fleets   []AWSFleet   `yaml:"fleets"`
	Rotation *AWSRotation `yaml:"rotation"`
	Provider *AWSProvider `yaml:"certificate_provider"`
	Callback *AWSCallback `yaml:"connect_callback"`
	// Ingest stores the messages of devices in S3; for aws render.
	Ingest *AWSIngest `yaml:"ingest"`
	// Stack leaves policies, templates, rules, thing types and groups to the stack
	// that aws render writes; apply only compares them.
	Stack bool `yaml:"stack"`
	// QuotaScale multiplies AWS's default quotas of calls a second where they were
	// raised for the account.
	QuotaScale float64 `yaml:"quota_scale"`
}

// AWSManifest is the table that the Lambda functions decide from.
type AWSManifest struct {
	Table string `yaml:"table"`
	// MaxAge is how old the table's contents may be before the functions refuse
	// everything.
	MaxAge time.Duration `yaml:"max_age"`
}

// AWSCA is one issuing CA to register.
type AWSCA struct {
	Issuer string `yaml:"issuer"`
	// Mode is DEFAULT (one account a region, needs the proof of possession),
	// SNI_ONLY, or, with use register, NONE.
	Mode string `yaml:"mode"`
	// Use is jitr, jitp, register or none.
	Use string `yaml:"use"`
	// JITP must be set exactly when Use is jitp, Register when it is register.
	JITP     *AWSJITP     `yaml:"jitp"`
	Register *AWSRegister `yaml:"register"`
	// State is active, inactive or deleted; Sweep, of a CA that is not active,
	// keep, deactivate or revoke.
	State string `yaml:"state"`
	Sweep string `yaml:"sweep"`
}

// AWSJITP is the just-in-time provisioning template of a CA.
type AWSJITP struct {
	// Profile is the profile that devices of this CA are issued under; the
	// template declares exactly the parameters that it always sets.
	Profile string `yaml:"profile"`
	// RoleARN is the role that AWS IoT assumes to provision.
	RoleARN string `yaml:"role_arn"`
	// Policy is attached to each certificate.
	Policy string `yaml:"policy"`
	// PolicyFile replaces the generated policy document.
	PolicyFile string `yaml:"policy_file"`
}

// AWSRegister says how mintmark registers each device certificate of a CA.
type AWSRegister struct {
	Policy     string   `yaml:"policy"`
	PolicyFile string   `yaml:"policy_file"`
	ThingType  string   `yaml:"thing_type"`
	Groups     []string `yaml:"groups"`
}

// AWSJITR is the landing of just-in-time registration.
type AWSJITR struct {
	// Function is the ARN of the activator Lambda.
	Function string `yaml:"function"`
	// Rule begins the names of the topic rules that feed the Lambda.
	Rule string `yaml:"rule"`
	// Policy is created and attached to each activated certificate.
	Policy string `yaml:"policy"`
	// PolicyFile replaces the generated policy document.
	PolicyFile string `yaml:"policy_file"`
}

// AWSFleet is a provisioning template for devices that come with a claim.
type AWSFleet struct {
	Template    string `yaml:"template"`
	RoleARN     string `yaml:"role_arn"`
	Hook        string `yaml:"hook"`
	Policy      string `yaml:"policy"`
	PolicyFile  string `yaml:"policy_file"`
	ClaimPolicy string `yaml:"claim_policy"`
	// ThingPrefix stands before the serial number in the names of things.
	ThingPrefix string            `yaml:"thing_prefix"`
	ThingType   string            `yaml:"thing_type"`
	Groups      []string          `yaml:"groups"`
	Attributes  map[string]string `yaml:"attributes"`
	// AWSKeys lets whoever holds a claim certificate have AWS make private keys: for
	// devices that cannot make their own.
	AWSKeys bool `yaml:"aws_keys"`
	// RotationTemplate and RotationHook are for targets with rotation.
	RotationTemplate string `yaml:"rotation_template"`
	RotationHook     string `yaml:"rotation_hook"`
}

// AWSRotation tells devices to get their next certificate.
type AWSRotation struct {
	Table    string        `yaml:"table"`
	Period   time.Duration `yaml:"period"`
	Grace    time.Duration `yaml:"grace"`
	Topic    string        `yaml:"topic"`
	Presence string        `yaml:"presence"`
	Rule     string        `yaml:"rule"`
}

// AWSProvider is the account's certificate provider.
type AWSProvider struct {
	Name     string `yaml:"name"`
	Function string `yaml:"function"`
	// URL and Label are where the function has certificates signed: an EST label
	// of a server that it can reach, which takes registration authorities. They
	// are for aws render.
	URL   string `yaml:"url"`
	Label string `yaml:"label"`
	// Secret names the secret in AWS Secrets Manager that holds the key and the
	// certificate of the registration authority.
	Secret string `yaml:"secret"`
}

// AWSIngest is a bucket and three topic rules that store what devices send there,
// under the topic and the time.
type AWSIngest struct {
	Bucket string `yaml:"bucket"`
	// Rule begins the names of the rules, <rule>_rule1 to _rule3; Topic those of the
	// topics, <topic>/rule1 to /rule3.
	Rule  string `yaml:"rule"`
	Topic string `yaml:"topic"`
}

// AWSCallback asks about each connection before it is taken; for aws render.
type AWSCallback struct {
	// Domain is the name of the domain configuration, Function the ARN of the
	// function (handler "connect").
	Domain   string `yaml:"domain"`
	Function string `yaml:"function"`
	// CRLs are URLs of CRLs to consult, OCSP that of a responder.
	CRLs []string `yaml:"crls"`
	OCSP string   `yaml:"ocsp"`
}
