import { DynamoDBClient, GetItemCommand } from "@aws-sdk/client-dynamodb";

const client = new DynamoDBClient({});

export const handler = async (event) => {
  const { SerialNumber } = event.parameters;
  try {
    const found = await client.send(new GetItemCommand({
      TableName: process.env.TABLE,
      Key: { serial: { S: SerialNumber } },
    }));
    return { allowProvisioning: Boolean(found.Item) };
  } catch (problem) {
    console.error(problem);
    return { allowProvisioning: false };
  }
};
