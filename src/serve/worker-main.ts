/** The program that the primary forks: a worker and nothing else, so that it starts quickly. */
import { runWorker } from "./worker.ts";

runWorker();
