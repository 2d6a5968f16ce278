import * as cdk from "aws-cdk-lib";
import { aws_iam as iam, aws_iot as iot, aws_lambda as lambda, aws_s3 as s3 } from "aws-cdk-lib";
import { AwsCustomResource, AwsCustomResourcePolicy, PhysicalResourceId } from "aws-cdk-lib/custom-resources";
import { Construct } from "constructs";

export class ProvisioningStack extends cdk.Stack {
  constructor(scope: Construct, id: string, props: cdk.StackProps) {
    super(scope, id, props);

    const devicePolicy = new iot.CfnPolicy(this, "DevicePolicy", {
      policyName: "pump-device",
      policyDocument: {
        Version: "2012-10-17",
        Statement: [
          { Effect: "Allow", Action: ["iot:Connect"], Resource: ["*"] },
          {
            Effect: "Allow",
            Action: ["iot:Publish"],
            Resource: [
              `arn:aws:iot:${this.region}:${this.account}:topic/$aws/rules/*`,
              `arn:aws:iot:${this.region}:${this.account}:topic/\${iot:ClientId}`,
            ],
          },
        ],
      },
    });

    const verifyDevice = new lambda.Function(this, "VerifyDevice", {
      runtime: lambda.Runtime.PYTHON_3_9,
      code: lambda.Code.fromAsset("lambda"),
      handler: "lambda_function.lambda_handler",
      timeout: cdk.Duration.seconds(30),
    });
    verifyDevice.addPermission("AllowIot", {
      principal: new iam.ServicePrincipal("iot.amazonaws.com"),
    });

    const role = new iam.Role(this, "ProvisioningRole", {
      assumedBy: new iam.ServicePrincipal("iot.amazonaws.com"),
      managedPolicies: [
        iam.ManagedPolicy.fromAwsManagedPolicyName("service-role/AWSIoTThingsRegistration"),
      ],
    });

    const template = new iot.CfnProvisioningTemplate(this, "Template", {
      templateName: "pump",
      provisioningRoleArn: role.roleArn,
      enabled: true,
      preProvisioningHook: { payloadVersion: "2020-04-01", targetArn: verifyDevice.functionArn },
      templateBody: JSON.stringify({
        Parameters: {
          SerialNumber: { Type: "String" },
          "AWS::IoT::Certificate::Id": { Type: "String" },
        },
        Resources: {
          certificate: {
            Type: "AWS::IoT::Certificate",
            Properties: { CertificateId: { Ref: "AWS::IoT::Certificate::Id" }, Status: "Active" },
          },
          policy: { Type: "AWS::IoT::Policy", Properties: { PolicyName: devicePolicy.policyName } },
          thing: {
            Type: "AWS::IoT::Thing",
            OverrideSettings: { AttributePayload: "MERGE", ThingGroups: "DO_NOTHING", ThingTypeName: "REPLACE" },
            Properties: {
              ThingGroups: [],
              ThingName: { "Fn::Join": ["", ["pump-", { Ref: "SerialNumber" }]] },
            },
          },
        },
      }),
    });

    const topics = ["rule1", "rule2", "rule3"];
    const claimPolicy = new iot.CfnPolicy(this, "ClaimPolicy", {
      policyName: "pump-claim",
      policyDocument: {
        Version: "2012-10-17",
        Statement: [
          { Effect: "Allow", Action: ["iot:Connect"], Resource: "*" },
          {
            Effect: "Allow",
            Action: ["iot:Publish", "iot:Receive"],
            Resource: [
              `arn:aws:iot:${this.region}:${this.account}:topic/$aws/certificates/create/*`,
              `arn:aws:iot:${this.region}:${this.account}:topic/$aws/provisioning-templates/pump/provision/*`,
            ],
          },
          {
            Effect: "Allow",
            Action: ["iot:Subscribe"],
            Resource: [
              `arn:aws:iot:${this.region}:${this.account}:topicfilter/$aws/certificates/create/*`,
              `arn:aws:iot:${this.region}:${this.account}:topicfilter/$aws/provisioning-templates/pump/provision/*`,
            ],
          },
        ],
      },
    });

    const bucket = new s3.Bucket(this, "Claims");
    const made = new AwsCustomResource(this, "ClaimCertificate", {
      onCreate: {
        service: "Iot",
        action: "createKeysAndCertificate",
        parameters: { setAsActive: true },
        physicalResourceId: PhysicalResourceId.fromResponse("certificateId"),
      },
      policy: AwsCustomResourcePolicy.fromSdkCalls({ resources: ["*"] }),
    });
    new s3deploy.BucketDeployment(this, "Keys", {
      destinationBucket: bucket,
      sources: [
        s3deploy.Source.data("claim.pem", made.getResponseField("certificatePem")),
        s3deploy.Source.data("claim.private.key", made.getResponseField("keyPair.PrivateKey")),
      ],
    });
  }
}
