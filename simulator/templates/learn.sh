#!/bin/sh
# The guide's way by hand, against the local Amazon. The page /learn shows it step by step.
set -eu

# == Who asks
# Begin in the project's folder: aws and python come with its environment. What is written lies in a folder of its own.
# A 12-digit number as access key acts as the administrator of that AWS account; the token is the AMC administrator's.
export PATH="$PWD/.venv/bin:$PATH" PYTHONPATH="$PWD"
cd "$(mktemp -d)"
export AWS_ENDPOINT_URL=@ADDRESS@ AWS_DEFAULT_REGION=us-east-1
export AWS_ACCESS_KEY_ID=@AWS@ AWS_SECRET_ACCESS_KEY=anything
field() { sed -n 's/.*"'"$1"'": "\([^"]*\)".*/\1/p'; }
TOKEN=$(curl -s "$AWS_ENDPOINT_URL/_simulator/token?person=admin" | field access_token)
amc() {
  curl -s -H "Authorization: Bearer $TOKEN" \
    -H 'Amazon-Advertising-API-ClientId: @CLIENT@' \
    -H 'Amazon-Advertising-API-AdvertiserId: @AMC@' \
    -H 'Amazon-Advertising-API-MarketplaceId: @MARKETPLACE@' \
    -H 'Content-Type: application/vnd.amcinstances.v1+json' "$AWS_ENDPOINT_URL$@"
}

# == Create the instance
# Guide 4. AMC makes the instance, then a collaboration in AWS Clean Rooms, and invites your account to it.
INSTANCE=$(amc /amc/instances -d '{"instanceName": "By hand", "awsAccountId": "@AWS@", "acrBacked": true}' |
  field instanceId)
AMC=/amc/instances/$INSTANCE/collaboration
until amc "$AMC" | grep -q '"status": "PENDING_ACCEPTANCE"'; do sleep 1; done
COLLABORATION=$(aws cleanrooms list-collaborations --member-status INVITED \
  --query "collaborationList[?name=='AMC $INSTANCE'].id" --output text)

# == A bucket and a role for the results
# Guide 4. AWS Clean Rooms writes what queries find with this role: it trusts the service and may write there.
aws s3 mb s3://by-hand-results
cat > results-trust.json <<'END'
{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Principal": {"Service": "cleanrooms.amazonaws.com"}, "Action": "sts:AssumeRole",
   "Condition": {"ForAnyValue:ArnEquals": {
     "aws:SourceArn": ["arn:aws:cleanrooms:us-east-1:@AWS@:membership/*"]}}}]}
END
cat > results-permissions.json <<'END'
{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Action": ["s3:GetBucketLocation", "s3:ListBucket"],
   "Resource": "arn:aws:s3:::by-hand-results"},
  {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::by-hand-results/out/*"}]}
END
aws iam create-role --role-name by-hand-cleanrooms-results --path /service-role/ \
  --assume-role-policy-document file://results-trust.json --query Role.Arn
aws iam put-role-policy --role-name by-hand-cleanrooms-results --policy-name results \
  --policy-document file://results-permissions.json

# == Create the membership
# Guide 4. A service sees a role some moments after it was made; asked at once it says IAM_SYNCHRONIZATION_DELAY.
# AMC says ACTIVE some time after you have joined. Who leaves can never come back.
cat > create-membership.json <<END
{"collaborationIdentifier": "$COLLABORATION", "queryLogStatus": "DISABLED",
 "defaultResultConfiguration": {
   "outputConfiguration": {"s3": {"bucket": "by-hand-results", "keyPrefix": "out", "resultFormat": "CSV"}},
   "roleArn": "arn:aws:iam::@AWS@:role/service-role/by-hand-cleanrooms-results"}}
END
sleep 2
MEMBERSHIP=$(aws cleanrooms create-membership --cli-input-json file://create-membership.json \
  --query membership.id --output text)
until amc "$AMC" | grep -q '"status": "ACTIVE", "customerAcceptanceLink"'; do sleep 1; done

# == Identity data in a bucket
# Guide 7, step 1. Another bucket than that of the results. The sample says how many customers must match.
python -m simulator sample --rows 1000 --country US --messy 0.3 --seed 1 people.csv
aws s3 mb s3://by-hand-data
aws s3 cp --no-progress people.csv s3://by-hand-data/identity/people.csv

# == Catalogue them, and look by Athena
# Guide 7, step 2. The columns are named and ordered as in the file's header.
aws glue create-database --database-input Name=by_hand
cat > table.json <<'END'
{"Name": "identity", "TableType": "EXTERNAL_TABLE",
 "Parameters": {"classification": "csv", "skip.header.line.count": "1"},
 "StorageDescriptor": {
   "Location": "s3://by-hand-data/identity/",
   "Columns": [
     {"Name": "customerid", "Type": "string"}, {"Name": "firstname", "Type": "string"},
     {"Name": "lastname", "Type": "string"}, {"Name": "email", "Type": "string"},
     {"Name": "phone", "Type": "string"}, {"Name": "address", "Type": "string"},
     {"Name": "city", "Type": "string"}, {"Name": "state", "Type": "string"},
     {"Name": "zip", "Type": "string"}, {"Name": "country", "Type": "string"},
     {"Name": "maid", "Type": "string"}],
   "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
   "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
   "SerdeInfo": {"SerializationLibrary": "org.apache.hadoop.hive.serde2.OpenCSVSerde"}}}
END
aws glue create-table --database-name by_hand --table-input file://table.json
QUERY=$(aws athena start-query-execution --query-string 'SELECT * FROM "by_hand"."identity" limit 10;' \
  --result-configuration OutputLocation=s3://by-hand-data/athena/ --query QueryExecutionId --output text)
aws athena get-query-results --query-execution-id "$QUERY" \
  --query 'ResultSet.Rows[].Data[0:4].VarCharValue' --output text

# == A role that reads them
# Guide 7, setup. AWS Entity Resolution assumes it.
cat > source-trust.json <<'END'
{"Version": "2012-10-17", "Statement": [
  {"Sid": "TargetAssumeRolePolicy", "Effect": "Allow",
   "Principal": {"Service": ["entityresolution.amazonaws.com"]}, "Action": "sts:AssumeRole"}]}
END
cat > source-permissions.json <<'END'
{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Sid": "S3InputPermissions",
   "Action": ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"],
   "Resource": ["arn:aws:s3:::by-hand-data", "arn:aws:s3:::by-hand-data/*"],
   "Condition": {"StringEquals": {"s3:ResourceAccount": ["@AWS@"]}}},
  {"Effect": "Allow", "Sid": "GluePermissions",
   "Action": ["glue:GetDatabase", "glue:GetTable", "glue:GetPartition", "glue:GetPartitions",
              "glue:GetSchema", "glue:GetSchemaVersion", "glue:BatchGetPartition"],
   "Resource": ["arn:aws:glue:us-east-1:@AWS@:database/by_hand",
                "arn:aws:glue:us-east-1:@AWS@:table/by_hand/identity",
                "arn:aws:glue:us-east-1:@AWS@:catalog"]}]}
END
aws iam create-role --role-name by-hand-source --path /service-role/ \
  --assume-role-policy-document file://source-trust.json --query Role.Arn
aws iam put-role-policy --role-name by-hand-source --policy-name source \
  --policy-document file://source-permissions.json

# == The schema mapping
# Guide 7, step 3. What each column is, and that the values are clear.
cat > create-schema-mapping.json <<'END'
{"schemaName": "by-hand", "mappedInputFields": [
  {"fieldName": "customerid", "type": "UNIQUE_ID"},
  {"fieldName": "firstname", "type": "NAME_FIRST", "matchKey": "FirstName", "hashed": false},
  {"fieldName": "lastname", "type": "NAME_LAST", "matchKey": "LastName", "hashed": false},
  {"fieldName": "email", "type": "EMAIL_ADDRESS", "matchKey": "Email", "hashed": false},
  {"fieldName": "phone", "type": "PHONE", "matchKey": "Phone", "hashed": false},
  {"fieldName": "address", "type": "ADDRESS", "matchKey": "Address", "hashed": false},
  {"fieldName": "city", "type": "ADDRESS_CITY", "matchKey": "City", "hashed": false},
  {"fieldName": "state", "type": "ADDRESS_STATE", "matchKey": "State", "hashed": false},
  {"fieldName": "zip", "type": "ADDRESS_POSTALCODE", "matchKey": "Postal", "hashed": false},
  {"fieldName": "country", "type": "ADDRESS_COUNTRY", "matchKey": "Country", "hashed": false},
  {"fieldName": "maid", "type": "STRING", "matchKey": "MAID", "hashed": false}]}
END
aws entityresolution create-schema-mapping --region us-east-1 \
  --cli-input-json file://create-schema-mapping.json --query schemaArn

# == The ID namespace, and its association
# Guide 7, steps 4 and 5. The namespace wraps table, mapping and role; the association brings it into the
# collaboration.
cat > create-source-id-namespace.json <<'END'
{"idNamespaceName": "by-hand", "description": "Advertiser owner SOURCE Id Namespace", "type": "SOURCE",
 "inputSourceConfig": [
   {"inputSourceARN": "arn:aws:glue:us-east-1:@AWS@:table/by_hand/identity", "schemaName": "by-hand"}],
 "idMappingWorkflowProperties": [
   {"idMappingType": "RULE_BASED", "ruleBasedProperties": {"ruleDefinitionTypes": ["TARGET"]}}],
 "roleArn": "arn:aws:iam::@AWS@:role/service-role/by-hand-source"}
END
NAMESPACE=$(aws entityresolution create-id-namespace --region us-east-1 \
  --cli-input-json file://create-source-id-namespace.json --query idNamespaceArn --output text)
cat > create-source-id-namespace-association.json <<END
{"name": "by-hand", "description": "Identity data",
 "inputReferenceConfig": {"inputReferenceArn": "$NAMESPACE", "manageResourcePolicies": true}}
END
aws cleanrooms create-id-namespace-association --region us-east-1 --membership-identifier "$MEMBERSHIP" \
  --cli-input-json file://create-source-id-namespace-association.json --query idNamespaceAssociation.id

# == The ID mapping table and its job
# Guide 7, second part. AMC answers with the job's id, or with a tracking id that will have one.
# Compare totalMappedSourceRecords with the customers that, by the sample, must match in clear.
amc "$AMC/idmappingtables" > made.json \
  -d '{"idMappingTableName": "by hand", "sourceIdNamespaceArn": "'"$NAMESPACE"'"}'
TABLE=$(sed 's/.*"idMappingTable": {"id": "\([^"]*\)".*/\1/' made.json)
JOB=$(field idMappingWorkflowJobId < made.json)
until [ "$JOB" ]; do
  sleep 1
  JOB=$(amc "$AMC/idmappingtables/$TABLE/jobTracker/$(field trackingId < made.json)" | field idMappingJobId)
done
while amc "$AMC/idmappingtables/$TABLE/jobs/$JOB" | grep -qE '"(QUEUED|RUNNING)"'; do sleep 1; done
amc "$AMC/idmappingtables/$TABLE/jobs/$JOB"
