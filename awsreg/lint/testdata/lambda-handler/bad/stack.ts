import { Duration, Stack } from "aws-cdk-lib";
import * as iam from "aws-cdk-lib/aws-iam";
import * as iot from "aws-cdk-lib/aws-iot";
import * as lambda from "aws-cdk-lib/aws-lambda";

export class ProvisioningStack extends Stack {
  constructor(scope: Construct, id: string, props?: StackProps) {
    super(scope, id, props);
    const admit = new lambda.Function(this, "Admit", {
      runtime: lambda.Runtime.PYTHON_3_13,
      handler: "lambda_function.lambda_handler",
      code: lambda.Code.fromAsset("lambda"),
      timeout: Duration.seconds(5),
    });
    admit.addPermission("Provisioning", {
      principal: new iam.ServicePrincipal("iot.amazonaws.com"),
      sourceAccount: this.account,
    });
    new iot.CfnProvisioningTemplate(this, "Template", {
      templateName: "press",
      provisioningRoleArn: this.role.roleArn,
      preProvisioningHook: { targetArn: admit.functionArn, payloadVersion: "2020-04-01" },
      templateBody: JSON.stringify({
        Parameters: { SerialNumber: { Type: "String" }, "AWS::IoT::Certificate::Id": { Type: "String" } },
        Resources: {
          thing: { Type: "AWS::IoT::Thing", Properties: { ThingName: { "Fn::Join": ["", ["press-", { Ref: "SerialNumber" }]] } } },
          certificate: { Type: "AWS::IoT::Certificate", Properties: { CertificateId: { Ref: "AWS::IoT::Certificate::Id" }, Status: "Active" } },
          policy: { Type: "AWS::IoT::Policy", Properties: { PolicyName: "press" } },
        },
      }),
    });
  }
}
