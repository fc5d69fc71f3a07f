// What every Node.js client is asked, and how it tells what came of it.
export const { BASE_URL, KEY, POOR_KEY } = process.env;
export const MODEL = 'llama-3.3-70b';
export const WORDS = '/words 5';
export const NAME = 'My name is Ada.';
export const RECALL = 'What is my name?';
export const CALL = '/call weather {"city": "Bern"}';
export const PARAMETERS = {
  type: 'object',
  properties: { city: { type: 'string' } },
  required: ['city'],
  additionalProperties: false,
};

export const weather = ({ city }) => `21 degrees in ${city}`;

// Prints what came of the APIs that the command line names, and how requests were refused. `refused`
// asks with a key and a model; the others stream, call a tool and keep a conversation.
export async function show(refused, used) {
  const report = {};
  for (const api of process.argv.slice(2)) report[api] = await used[api]();
  console.log(JSON.stringify({ ...report, refusals: await refusals(refused) }));
}

async function refusals(ask) {
  const cases = {
    wrong_key: ['aos_0000000000000000_wrong', MODEL],
    full_budget: [POOR_KEY, MODEL],
    unknown_model: [KEY, 'no-such-model'],
  };
  const found = {};
  for (const [name, [key, model]] of Object.entries(cases)) {
    found[name] = await ask(key, model).then(
      (answer) => `no error: ${JSON.stringify(answer)}`,
      (error) => String(error),
    );
  }
  return found;
}
