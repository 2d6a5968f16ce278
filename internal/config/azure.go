package config

import "time"

// Azure lists the Device Provisioning Services to keep in step.
type Azure struct {
	// Reconcile is how often the enrollments at Azure are compared with the ledger; 0
	// for never.
	Reconcile time.Duration `yaml:"reconcile"`
	Targets   []AzureTarget `yaml:"targets"`
}

// AzureTarget is one DPS instance.
type AzureTarget struct {
	Name           string `yaml:"name"`
	SubscriptionID string `yaml:"subscription_id"`
	ResourceGroup  string `yaml:"resource_group"`
	// Service is the name of the DPS instance.
	Service string `yaml:"service"`
	// IDScope is what devices name; for azure edge-config.
	IDScope string `yaml:"id_scope"`
	// Identity is who the server is to Entra; left out, what the machine offers:
	// environment, workload identity, managed identity, az login.
	Identity AzureIdentity `yaml:"identity"`
	// SAS is a shared access policy for the data plane, instead of Entra.
	SAS *AzureSAS `yaml:"sas"`
	// Connect replaces Azure's own addresses: for mintmark sim azure.
	Connect     AzureConnect      `yaml:"connect"`
	CAs         []AzureCA         `yaml:"cas"`
	Groups      []AzureGroup      `yaml:"groups"`
	Enrollments []AzureEnrollment `yaml:"enrollments"`
	// Hubs are the IoT hubs whose identities are disabled with their devices.
	Hubs []AzureHub `yaml:"hubs"`
	// OpsPerMinute is the quota of data-plane operations where it was raised.
	OpsPerMinute int `yaml:"ops_per_minute"`
}

// AzureIdentity is a service principal. Its secrets are in files.
type AzureIdentity struct {
	TenantID        string `yaml:"tenant_id"`
	ClientID        string `yaml:"client_id"`
	SecretFile      string `yaml:"secret_file"`
	CertificateFile string `yaml:"certificate_file"`
}

// AzureSAS is a shared access policy with its key.
type AzureSAS struct {
	Policy  string `yaml:"policy"`
	KeyFile string `yaml:"key_file"`
}

// AzureConnect sends every connection to one address.
type AzureConnect struct {
	Address string `yaml:"address"`
	// TrustFile holds the roots that are trusted there, PEM.
	TrustFile string `yaml:"trust_file"`
}

// AzureCA is a CA to upload and to verify by proof of possession.
type AzureCA struct {
	Authority string `yaml:"authority"`
	// Name is that of the certificate at DPS.
	Name string `yaml:"name"`
	// SelfAttested uploads it as verified, without a proof.
	SelfAttested bool `yaml:"self_attested"`
	// State is active or deleted.
	State string `yaml:"state"`
}

// AzureGroup is an enrollment group.
type AzureGroup struct {
	ID string `yaml:"id"`
	// Anchors are one or two authorities: primary and secondary certificate. If left
	// out, the root of the issuing CA of Labels.
	Anchors []string `yaml:"anchors"`
	// Reference names the uploaded CAs instead of sending their certificates.
	Reference bool   `yaml:"reference"`
	Disabled  bool   `yaml:"disabled"`
	State     string `yaml:"state"`
	// Labels are EST labels whose devices must end in this group.
	Labels []string `yaml:"labels"`
	// Orders are work orders whose devices must end in this group.
	Orders []string   `yaml:"orders"`
	Device AzureShape `yaml:"device"`
}

// AzureEnrollment makes an individual enrollment of every device whose certificate
// has one of these profiles, labels and work orders.
type AzureEnrollment struct {
	Name     string   `yaml:"name"`
	Profiles []string `yaml:"profiles"`
	Labels   []string `yaml:"labels"`
	Orders   []string `yaml:"orders"`
	// DeviceID is the device's id at the hub, with placeholders; the registration id
	// if it is left out.
	DeviceID string     `yaml:"device_id"`
	Device   AzureShape `yaml:"device"`
}

// AzureShape is what becomes of a device that registers.
type AzureShape struct {
	Edge bool `yaml:"edge"`
	// Hubs are host names of linked hubs; all of them if left out.
	Hubs []string `yaml:"hubs"`
	// Allocation is hashed, geoLatency, static or custom.
	Allocation string `yaml:"allocation"`
	// Webhook is the allocation function of custom, WebhookAPI its api version.
	Webhook    string `yaml:"webhook"`
	WebhookAPI string `yaml:"webhook_api"`
	// Reprovision is migrate, reset or never.
	Reprovision string `yaml:"reprovision"`
	// Tags and Desired begin the twin.
	Tags    map[string]any `yaml:"tags"`
	Desired map[string]any `yaml:"desired"`
}

// AzureHub is an IoT hub.
type AzureHub struct {
	Host string    `yaml:"host"`
	SAS  *AzureSAS `yaml:"sas"`
}
